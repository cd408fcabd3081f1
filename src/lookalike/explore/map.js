// The map: every image a dot, and as many small pictures as have room. Dots are written as pixels, so that
// 100,000 of them need no graphics card.
const points = element("points");
const pictures = element("pictures");
const view = { scale: 1, left: 0, top: 0, fit: 1, width: 1, height: 1, ratio: 1 };
const screenX = (row) => data.x[row] * view.scale + view.left;
const screenY = (row) => data.y[row] * view.scale + view.top;
let pixels = null, image = null, waiting = false, showPictures = true, shape = null;
const drawn = { rows: [], size: 0, milliseconds: 0 };

const measure = () => {
  const box = element("map").getBoundingClientRect();
  view.width = Math.max(1, box.width);
  view.height = Math.max(1, box.height);
  view.ratio = Math.min(2, devicePixelRatio || 1);
  for (const canvas of [points, pictures]) {
    canvas.width = Math.round(view.width * view.ratio);
    canvas.height = Math.round(view.height * view.ratio);
  }
  image = points.getContext("2d").createImageData(points.width, points.height);
  pixels = new Uint32Array(image.data.buffer);
};
const fit = () => {
  const margin = Math.min(40, view.width / 12), below = 44;
  const [wide, high] = [view.width - 2 * margin, view.height - 2 * margin - below];
  view.fit = Math.max(10, Math.min(wide / data.extent[0], high / data.extent[1]));
  view.scale = view.fit;
  view.left = (view.width - data.extent[0] * view.scale) / 2;
  view.top = (view.height - below - data.extent[1] * view.scale) / 2;
};
const zoomAt = (factor, x, y) => {
  const most = view.fit * Math.max(24, 2 * Math.sqrt(count));
  const scale = Math.min(most, Math.max(view.fit / 3, view.scale * factor));
  view.left = x - ((x - view.left) * scale) / view.scale;
  view.top = y - ((y - view.top) * scale) / view.scale;
  view.scale = scale;
  draw();
};
const goTo = (row) => {
  const [x, y] = [screenX(row), screenY(row)];
  if (x > 60 && y > 60 && x < view.width - 60 && y < view.height - 60) return draw();
  view.left += view.width / 2 - x;
  view.top += view.height / 2 - y;
  draw();
};

// Which pixels a dot covers, and how much of each.
let stamp = { radius: -1, reach: 0, offsets: [], covers: [] };
const makeStamp = (radius, width) => {
  if (stamp.radius === radius && stamp.width === width) return;
  const reach = Math.ceil(radius);
  const [offsets, covers] = [[], []];
  for (let y = -reach; y <= reach; y++) {
    for (let x = -reach; x <= reach; x++) {
      const cover = Math.min(1, radius + 0.5 - Math.hypot(x, y));
      if (cover > (count > 40000 ? 0.45 : 0.12)) {
        offsets.push(y * width + x);
        covers.push(count > 40000 ? 255 : Math.round(cover * 255)); // of many dots no edge is seen
      }
    }
  }
  stamp = { radius, width, reach, offsets: Int32Array.from(offsets), covers: Uint8Array.from(covers) };
};
const radiusOf = () => {
  const base = count > 40000 ? 1.3 : count > 10000 ? 1.8 : count > 2000 ? 2.4 : 3.4;
  return Math.round(base * Math.min(2.4, (view.scale / view.fit) ** 0.3) * view.ratio * 4) / 4;
};
const blend = (at, colour, cover) => {
  const under = pixels[at];
  if (under >>> 24 === 0) return ((colour & 0xffffff) | (cover << 24)) >>> 0;
  const mix = (shift) => {
    const low = (under >>> shift) & 255;
    return (low + ((((colour >>> shift) & 255) - low) * cover) / 255) & 255;
  };
  return ((Math.max(under >>> 24, cover) << 24) | (mix(16) << 16) | (mix(8) << 8) | mix(0)) >>> 0;
};
// Places and colours in the order in which they are drawn, side by side in memory.
const line = { version: -1, words: null, theme: "", x: null, y: null, colours: null };
const lineUp = () => {
  if (line.version === state.version && line.words === colours.words && line.theme === tones.faint) return;
  const faint = word(rgb(tones.faint));
  const shown = state.order.filter((row) => state.rank[row] !== HIDDEN);
  line.x = Float32Array.from(shown, (row) => data.x[row]);
  line.y = Float32Array.from(shown, (row) => data.y[row]);
  line.colours = Uint32Array.from(shown, (row) => (state.rank[row] === FAINT ? faint : colours.words[row]));
  Object.assign(line, { version: state.version, words: colours.words, theme: tones.faint });
};
const paintPoints = () => {
  const { width, height } = points;
  makeStamp(radiusOf(), width);
  lineUp();
  pixels.fill(0);
  const { reach, offsets, covers } = stamp, size = offsets.length, buffer = pixels;
  const scale = view.scale * view.ratio, left = view.left * view.ratio + 0.5, top = view.top * view.ratio + 0.5;
  const { x: across, y: down, colours: words } = line, total = across.length;
  for (let turn = 0; turn < total; turn++) {
    const x = Math.floor(across[turn] * scale + left), y = Math.floor(down[turn] * scale + top);
    if (x < reach || y < reach || x >= width - reach || y >= height - reach) continue;
    const colour = words[turn], centre = y * width + x;
    for (let part = 0; part < size; part++) {
      const at = centre + offsets[part];
      buffer[at] = covers[part] === 255 ? colour : blend(at, colour, covers[part]);
    }
  }
  points.getContext("2d").putImageData(image, 0, 0);
};

// Pictures at a zoom level: in the order of their tiles, each that overlaps none before it. Fixed to the map,
// not to the screen, so that nothing flickers while it moves.
const CELL = 36, SLOTS = 1 << 20;
const levels = new Map();
const slots = new Int32Array(SLOTS);
const cellOf = (level) => 2 ** (-level / 2);
const slot = (x, y) => ((x * 73856093) ^ (y * 19349663)) & (SLOTS - 1);
const choose = (level) => {
  const key = `${state.version}/${level}`;
  if (levels.has(key)) return levels.get(key);
  if (levels.size > 24) levels.clear();
  const cell = cellOf(level), found = [], { x: across, y: down } = state.inTiles;
  slots.fill(-1);
  // The own cell first: it decides most.
  const isTaken = (place, x, y) => {
    const other = slots[slot(x, y)];
    return other >= 0 && Math.abs(across[other] - across[place]) < cell && Math.abs(down[other] - down[place]) < cell;
  };
  const isFree = (place, x, y) => {
    for (let side = -1; side <= 1; side++) {
      if (isTaken(place, x + side, y - 1) || isTaken(place, x + side, y + 1)) return false;
    }
    return !isTaken(place, x - 1, y) && !isTaken(place, x + 1, y);
  };
  for (let place = 0; place < count; place++) {
    const x = Math.floor(across[place] / cell), y = Math.floor(down[place] / cell);
    if (isTaken(place, x, y) || state.rank[state.byTile[place]] < PLAIN || !isFree(place, x, y)) continue;
    slots[slot(x, y)] = place;
    found.push(state.byTile[place]);
  }
  levels.set(key, found);
  return found;
};

// Sheets are read when they are needed; those not needed for longest go first.
const sheets = new Map();
const KEPT = 72;
const sheet = (number) => {
  const known = sheets.get(number);
  if (known) {
    sheets.delete(number);
    sheets.set(number, known);
    return known.ready ? known : null;
  }
  const fresh = new Image();
  fresh.onload = () => {
    fresh.ready = true;
    draw();
  };
  fresh.src = sheetUrl(number);
  sheets.set(number, fresh);
  if (sheets.size > KEPT) sheets.delete(sheets.keys().next().value);
  return null;
};

const paintPicture = (pen, row, size, frame) => {
  const tile = tileOf(row);
  const from = sheet(tile.sheet);
  if (!from) return false;
  const part = size / data.side, width = tile.width * part, height = tile.height * part;
  const x = screenX(row) - width / 2, y = screenY(row) - height / 2;
  const chosen = state.rank[row] === CHOSEN;
  pen.fillStyle = chosen ? tones.ink : colours.column.kind === "category" ? colours.css[codesOf(colours.column)[row]] : asCss(colours.of(row));
  const edge = chosen ? frame + 1.5 : frame;
  pen.fillRect(x - edge, y - edge, width + 2 * edge, height + 2 * edge);
  pen.drawImage(from, tile.x, tile.y, tile.width, tile.height, x, y, width, height);
  return true;
};
const paintPictures = () => {
  const pen = pictures.getContext("2d");
  pen.setTransform(view.ratio, 0, 0, view.ratio, 0, 0);
  pen.clearRect(0, 0, view.width, view.height);
  drawn.rows = [];
  const level = Math.floor(2 * Math.log2(view.scale / CELL));
  drawn.size = view.scale * cellOf(level);
  const margin = drawn.size / 2;
  if (showPictures) {
    for (const row of choose(level)) {
      const x = screenX(row), y = screenY(row);
      if (x < -margin || y < -margin || x > view.width + margin || y > view.height + margin) continue;
      if (paintPicture(pen, row, drawn.size - 5, 1.5)) drawn.rows.push(row);
    }
  }
  paintFocus(pen);
  paintShape(pen);
};
const paintFocus = (pen) => {
  if (state.focus < 0 || state.dropped[state.focus]) return;
  const [x, y] = [screenX(state.focus), screenY(state.focus)];
  pen.lineWidth = 1.5;
  pen.strokeStyle = tones.ink;
  pen.globalAlpha = 0.55;
  for (const [other] of neighboursOf(state.focus)) {
    if (state.dropped[other]) continue;
    pen.beginPath();
    pen.moveTo(x, y);
    pen.lineTo(screenX(other), screenY(other));
    pen.stroke();
  }
  pen.globalAlpha = 1;
  const size = showPictures ? Math.max(drawn.size, 40) * 1.5 : 0;
  const half = size ? size / 2 + 7 : 11;
  for (const [edge, colour] of [[2.5, tones.paper], [0, tones.ink]]) {
    pen.fillStyle = colour;
    pen.beginPath();
    pen.roundRect(x - half - edge, y - half - edge, 2 * (half + edge), 2 * (half + edge), 9);
    size || edge ? pen.fill() : pen.stroke();
  }
  if (!size) return;
  pen.fillStyle = tones.paper;
  pen.fillRect(x - size / 2 - 3.5, y - size / 2 - 3.5, size + 7, size + 7);
  paintPicture(pen, state.focus, size, 0);
};
const paintShape = (pen) => {
  if (!shape || shape.length < 2) return;
  pen.beginPath();
  shape.forEach(([x, y], at) => (at ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.closePath();
  pen.fillStyle = tones.glass;
  pen.fill();
  pen.lineWidth = 1.5;
  pen.strokeStyle = tones.ink;
  pen.setLineDash([6, 4]);
  pen.stroke();
  pen.setLineDash([]);
};

const paint = () => {
  waiting = false;
  const started = performance.now();
  paintPoints();
  paintPictures();
  drawn.milliseconds = performance.now() - started;
};
const draw = () => {
  if (!waiting) requestAnimationFrame(paint);
  waiting = true;
};

// The row at a place of the screen: a picture, else the nearest dot within reach; -1 for none.
const rowAt = (x, y, reach) => {
  if (showPictures) {
    const half = drawn.size / 2;
    const over = drawn.rows.filter((row) => Math.abs(screenX(row) - x) < half && Math.abs(screenY(row) - y) < half);
    if (over.length) return over[over.length - 1];
  }
  let best = -1, least = reach * reach;
  for (let row = 0; row < count; row++) {
    if (state.rank[row] === HIDDEN) continue;
    const far = (screenX(row) - x) ** 2 + (screenY(row) - y) ** 2;
    if (far < least) [best, least] = [row, far];
  }
  return best;
};
