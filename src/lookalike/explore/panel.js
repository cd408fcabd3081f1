// What stands beside the map: the image that was clicked, the selection, what a search found, the legend.
const LISTED = 60;
const make = (tag, properties = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else node.setAttribute(name, name === "title" || name === "aria-label" ? visible(value) : value);
  }
  node.append(...children.map((child) => (typeof child === "string" ? visible(child) : child)));
  return node;
};
let silence = null;
const say = (text) => {
  element("said").textContent = visible(text);
  clearTimeout(silence);
  silence = setTimeout(() => { element("said").textContent = ""; }, 5000);
};
const counted = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

// A small picture: a window onto its sheet.
const thumb = (row, size) => {
  const tile = tileOf(row), part = size / data.side;
  const node = make("span", { class: "thumb", role: "img", "aria-label": labelOf(row) });
  const look = make("i");
  Object.assign(look.style, {
    width: `${tile.width * part}px`,
    height: `${tile.height * part}px`,
    backgroundImage: `url("${sheetUrl(tile.sheet)}")`,
    backgroundSize: `${data.per_side * data.side * part}px ${data.heights[tile.sheet] * part}px`,
    backgroundPosition: `${-tile.x * part}px ${-tile.y * part}px`,
  });
  node.style.width = node.style.height = `${size}px`;
  node.append(look);
  return node;
};
const card = (row, about, kind = "") =>
  make("li", { class: kind },
    make("button", { type: "button", class: "card", title: `${labelOf(row)} · ${data.paths[row]}`, onclick: () => { showImage(row); goTo(row); } },
      thumb(row, 68), make("b", {}, labelOf(row)), ...about.map((text) => make("span", {}, text))));

// The image as it is on disk, where that can be reached from this page; else the small one, enlarged.
const large = (row) => {
  const tile = tileOf(row);
  const canvas = make("canvas", { class: "large", role: "img", "aria-label": `image of ${labelOf(row)}` });
  const size = 2 * 240, part = size / Math.max(tile.width, tile.height);
  canvas.width = Math.round(tile.width * part);
  canvas.height = Math.round(tile.height * part);
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  const small = new Image();
  small.onload = () => pen.drawImage(small, tile.x, tile.y, tile.width, tile.height, 0, 0, canvas.width, canvas.height);
  small.src = sheetUrl(tile.sheet);
  const place = data.originals === null ? "" : `${data.originals}/${data.paths[row]}`;
  if (place && !place.includes(".tar/@")) {  // no browser opens an image in a shard
    const full = new Image();
    full.onload = () => {
      small.onload = null;
      const [left, top, right, bottom] = (data.boxes && data.boxes[row]) || [0, 0, full.naturalWidth, full.naturalHeight];
      pen.clearRect(0, 0, canvas.width, canvas.height);
      pen.drawImage(full, left, top, right - left, bottom - top, 0, 0, canvas.width, canvas.height);
    };
    full.src = place.split("/").map(encodeURIComponent).join("/");
  }
  return canvas;
};
const distance = (alike) => Math.sqrt(Math.max(0, 2 - 2 * alike));
const isApart = (one, other) => changes.some(({ act }) => act.do === "different" && act.rows.includes(one) && act.rows.includes(other));

const showImage = (row) => {
  state.focus = row;
  element("image").hidden = row < 0;
  element("keys").hidden = row >= 0;
  draw();
  if (row < 0) return;
  const facts = data.columns.slice(1).flatMap((column) => [make("dt", {}, column.name), make("dd", {}, valueOf(column, row))]);
  const hits = neighboursOf(row).map(([other, alike]) => {
    const same = state.labels[other] === state.labels[row];
    const marks = [`${alike.toFixed(3)} · ${distance(alike).toFixed(2)}`];
    if (isApart(row, other)) marks.push("said different");
    return card(other, marks, state.dropped[other] ? "gone" : same ? "right" : "wrong");
  });
  const title = make("h2", {}, labelOf(row));
  if (labelOf(row) !== wasLabel(row)) title.append(make("small", {}, ` was ${wasLabel(row)}`));
  const pick = (text, about, rows, how) => make("button", { type: "button", title: about, onclick: () => { select(rows(), how); showImage(row); } }, text);
  element("image-body").replaceChildren(
    make("div", { class: "head" },
      make("div", { class: "shown" }, large(row)),
      make("div", {}, title, make("p", { class: "path" }, data.paths[row]),
        make("button", { type: "button", class: "close", "aria-label": "Close", onclick: () => { showImage(-1); surface.focus(); } }, "×"))),
    make("div", { class: "row" },
      pick(state.selected[row] ? "Deselect" : "Select", "add to the selection, or take away", () => [row], state.selected[row] ? "fewer" : "more"),
      pick("With neighbours", "select it and its neighbours", () => [row, ...neighboursOf(row).map(([other]) => other)], "more"),
      pick("Whole class", "select all images of its class", () => rowsOf(state.labels[row]), "more")),
    make("h3", {}, "Nearest neighbours"), make("p", { class: "note" }, "Cosine similarity · distance. Solid: same label; dashed: another."),
    make("ol", { class: "cards" }, ...hits), make("dl", {}, ...facts));
  say(`${labelOf(row)}, ${counted(hits.length, "neighbour")}`);
  element("panel").scrollTop = 0;
};
const rowsOf = (code) => {
  const rows = [];
  for (let row = 0; row < count; row++) if (state.labels[row] === code && !state.dropped[row]) rows.push(row);
  return rows;
};
const byClass = (rows) => {
  const counts = new Map();
  for (const row of rows) counts.set(state.labels[row], (counts.get(state.labels[row]) || 0) + 1);
  return [...counts].sort((one, other) => other[1] - one[1]);
};
const more = (total, most = LISTED) => (total > most ? [make("p", { class: "note" }, `and ${counted(total - most, "more", "more")}`)] : []);

const showSelection = () => {
  const rows = selectedRows();
  element("selection").hidden = !rows.length;
  if (!rows.length) return;
  const classes = byClass(rows);
  const names = classes.slice(0, 6).map(([code, number]) => `${state.names[code]} (${number})`);
  if (classes.length > 6) names.push(`${classes.length - 6} more`);
  element("selection-title").textContent = `${counted(rows.length, "image")} selected`;
  element("selection-classes").textContent = visible(names.join(", "));
  element("merge").disabled = classes.length < 2;
  element("different").disabled = rows.length < 2 || rows.length > MOST_APART;
  element("different").title = rows.length > MOST_APART ? `at most ${MOST_APART} images at once` : "";
  element("selection-cards").replaceChildren(...rows.slice(0, LISTED).map((row) => card(row, [])));
  element("selection-more").replaceChildren(...more(rows.length));
};

let asked = null, lit = -1;
const look = () => {
  const text = element("search").value;
  state.matched = search(text);
  lit = -1;
  refresh();
  const rows = state.matched ? rowsWhere(state.matched) : [];
  element("found").hidden = !state.matched;
  element("found-title").textContent = `${counted(rows.length, "image")} found`;
  element("found-select").disabled = !rows.length;
  element("found-cards").replaceChildren(...rows.slice(0, LISTED).map((row) => card(row, [])));
  element("found-more").replaceChildren(...more(rows.length));
  if (state.matched) say(`${counted(rows.length, "image")} found`);
  showLegend();
};
const rowsWhere = (mask) => {
  const rows = [];
  for (let row = 0; row < count; row++) if (mask[row]) rows.push(row);
  return rows;
};
element("search").addEventListener("input", () => {
  clearTimeout(asked);
  asked = setTimeout(look, count > 20000 ? 180 : 60);
});
element("found-select").addEventListener("click", () => state.matched && select(rowsWhere(state.matched)));

const showLegend = () => {
  const column = colours.column;
  element("legend-title").textContent = visible(column.name);
  if (column.kind === "number") return element("legend-body").replaceChildren(scale(column));
  const counts = new Map();
  const codes = codesOf(column);
  for (let row = 0; row < count; row++) if (!state.dropped[row]) counts.set(codes[row], (counts.get(codes[row]) || 0) + 1);
  const sorted = [...counts].sort((one, other) => other[1] - one[1] || one[0] - other[0]);
  const entries = sorted.slice(0, 100).map(([code, number]) => {
    const swatch = make("i", { class: "swatch" });
    swatch.style.background = colours.css[code];
    const name = valuesOf(column)[code];
    const shown = column.start && code < column.values.length ? `…${name.slice(column.start)}` : name;
    return make("li", {}, make("button", { type: "button", title: name, "aria-pressed": String(lit === code), onclick: () => light(column, code) },
      swatch, make("span", {}, shown === "" ? "–" : shown), make("em", {}, number.toLocaleString("en"))));
  });
  return element("legend-body").replaceChildren(make("ul", { class: "legend" }, ...entries), ...more(sorted.length, 100));
};
const scale = () => {
  const bar = make("div", { class: "scale" });
  bar.style.background = `linear-gradient(90deg, ${SCALE[theme()].join(", ")})`;
  const written = (value) => String(Number(value.toPrecision(3)));
  return make("div", {}, bar, make("p", { class: "ends" }, make("span", {}, written(colours.low)), make("span", {}, written(colours.high))));
};
// A class of the legend stands out; a second click lets it go.
const light = (column, code) => {
  element("search").value = "";
  element("found").hidden = true;
  lit = lit === code ? -1 : code;
  const codes = codesOf(column);
  state.matched = lit < 0 ? null : Uint8Array.from({ length: count }, (_, row) => Number(codes[row] === code));
  refresh();
  showLegend();
};
const refresh = () => {
  rank();
  draw();
};
