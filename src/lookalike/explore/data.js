// What the page holds: arrays, columns, labels as they are now, and which images stand out.
const element = (id) => document.getElementById(id);
const KINDS = { f4: Float32Array, f8: Float64Array, u4: Uint32Array, u2: Uint16Array, i2: Int16Array, u1: Uint8Array };
const HIDDEN = 0, FAINT = 1, PLAIN = 2, CHOSEN = 3;

const fromBase64 = (text) => {
  const raw = atob(text.trim());
  const bytes = new Uint8Array(raw.length);
  for (let at = 0; at < raw.length; at++) bytes[at] = raw.charCodeAt(at);
  return bytes;
};

const unpack = async (text) => {
  const stream = new Blob([fromBase64(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const start = Math.ceil((4 + length) / 8) * 8;
  for (const [name, [kind, offset, size]] of Object.entries(head.arrays)) {
    head[name] = new KINDS[kind](buffer, start + offset, size);
  }
  return head;
};

// Characters that turn the text after them around are seen, and do nothing.
const visible = (text) => text.replace(/[\u202a-\u202e\u2066-\u2069]/g, "\ufffd");

let data = null;
let count = 0;
const state = {
  labels: null, // code of each row's label as it is now
  names: [], // label of each code; grows
  dropped: null,
  selected: null,
  matched: null, // Uint8Array where a search or a class of the legend is on, else null
  rank: null, // HIDDEN … CHOSEN of each row
  order: null, // rows in the order in which they are drawn
  focus: -1,
  version: 0, // counts changes of what is shown
};

const begin = (read) => {
  data = read;
  count = data.x.length;
  for (const column of data.columns) column.codes = data[`column-${column.place}`];
  const label = data.columns[0];
  state.names = label.values.slice();
  state.labels = Uint32Array.from(label.codes);
  state.dropped = new Uint8Array(count);
  state.selected = new Uint8Array(count);
  state.rank = new Uint8Array(count);
  state.order = new Uint32Array(count);
  state.byTile = new Uint32Array(count);
  for (let row = 0; row < count; row++) state.byTile[data.tile[row]] = row;
  const inTiles = (values) => Float32Array.from(state.byTile, (row) => values[row]);
  state.inTiles = { x: inTiles(data.x), y: inTiles(data.y) };
};

const labelOf = (row) => state.names[state.labels[row]];
const wasLabel = (row) => data.columns[0].values[data.columns[0].codes[row]];
const codeOf = (name) => {
  const found = state.names.indexOf(name);
  return found >= 0 ? found : state.names.push(name) - 1;
};
const similarity = (row, place) => data.similarity[row * data.k + place] / 32767;
const neighboursOf = (row) => {
  const found = [];
  for (let place = 0; place < data.k; place++) {
    const other = data.neighbours[row * data.k + place];
    if (other !== 0xffffffff) found.push([other, similarity(row, place)]);
  }
  return found;
};
const selectedRows = () => {
  const rows = [];
  for (let row = 0; row < count; row++) if (state.selected[row] && !state.dropped[row]) rows.push(row);
  return rows;
};

const valueOf = (column, row) => {
  if (column.place === 0) return labelOf(row);
  if (column.kind === "text") return column.values[row];
  const code = column.codes[row];
  if (column.kind === "category") return column.values[code];
  return Number.isNaN(code) ? "–" : Number.isInteger(code) ? String(code) : String(Number(code.toPrecision(5)));
};

// Ranks, and the order to draw in: faint rows first, chosen ones last.
const rank = () => {
  let some = state.matched !== null;
  for (let row = 0; row < count && !some; row++) some = state.selected[row] === 1;
  const starts = [0, 0, 0, 0, 0];
  for (let row = 0; row < count; row++) {
    let kind = some ? FAINT : PLAIN;
    if (state.dropped[row]) kind = HIDDEN;
    else if (state.selected[row]) kind = CHOSEN;
    else if (state.matched && state.matched[row]) kind = PLAIN;
    state.rank[row] = kind;
    starts[kind + 1]++;
  }
  for (let kind = 1; kind < 5; kind++) starts[kind] += starts[kind - 1];
  for (let row = 0; row < count; row++) state.order[starts[state.rank[row]]++] = row;
  state.version++;
};

let haystack = null;
const hay = (row) => {
  const texts = data.columns.filter((each) => each.kind !== "number").map((each) => valueOf(each, row));
  return [data.paths[row], ...texts].join("\n").toLowerCase();
};
// Rows that hold every word, as a mask, and how many; null for no words.
const search = (text) => {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return null;
  haystack ??= Array.from({ length: count }, (_, row) => hay(row));
  const mask = new Uint8Array(count);
  for (let row = 0; row < count; row++) {
    if (!state.dropped[row] && words.every((word) => haystack[row].includes(word))) mask[row] = 1;
  }
  return mask;
};

// Where a sheet of small pictures is: beside the page, or in it.
const sheetUrls = [];
const sheetUrl = (number) => {
  if (!sheetUrls[number]) {
    const inside = element(`sheet-${number}`);
    sheetUrls[number] = inside
      ? URL.createObjectURL(new Blob([fromBase64(inside.textContent)], { type: "image/webp" }))
      : `sheets/${String(number).padStart(4, "0")}.webp`;
  }
  return sheetUrls[number];
};
const tileOf = (row) => {
  const tile = data.tile[row];
  const per = data.per_side * data.per_side;
  const place = tile % per;
  return {
    sheet: Math.floor(tile / per),
    x: (place % data.per_side) * data.side,
    y: Math.floor(place / data.per_side) * data.side,
    width: data.tile_width[row],
    height: data.tile_height[row],
  };
};
