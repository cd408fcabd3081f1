// Moving, zooming and selecting, by mouse, touch and keyboard.
const surface = element("pictures");
const touches = new Map();
let tool = "move", start = null, moved = false, pinch = 0;

const useTool = (name) => {
  tool = name;
  surface.dataset.tool = name;
  for (const each of document.querySelectorAll("[data-tool-button]")) {
    each.setAttribute("aria-pressed", String(each.dataset.toolButton === name));
  }
};
const place = (event) => {
  const box = surface.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};
const rectangle = ([left, top], [right, bottom]) => [[left, top], [right, top], [right, bottom], [left, bottom]];
const inside = (x, y, corners) => {
  let within = false;
  for (let one = 0, other = corners.length - 1; one < corners.length; other = one++) {
    const [ax, ay] = corners[one], [bx, by] = corners[other];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) within = !within;
  }
  return within;
};
// Rows inside a shape of the screen; with a search on, only those that it found.
const rowsInside = (corners) => {
  const across = corners.map(([x]) => x), down = corners.map(([, y]) => y);
  const [left, right, top, bottom] = [Math.min(...across), Math.max(...across), Math.min(...down), Math.max(...down)];
  const rows = [];
  for (let row = 0; row < count; row++) {
    if (state.dropped[row] || (state.matched && !state.matched[row])) continue;
    const x = screenX(row), y = screenY(row);
    if (x >= left && x <= right && y >= top && y <= bottom && inside(x, y, corners)) rows.push(row);
  }
  return rows;
};
// How a selection goes on: a new one, more (Shift) or fewer (Alt).
const select = (rows, how = "new") => {
  if (how === "new") state.selected.fill(0);
  for (const row of rows) state.selected[row] = how === "fewer" ? 0 : 1;
  refresh();
  showSelection();
  const total = selectedRows().length;
  say(total ? `${total.toLocaleString("en")} selected` : "nothing selected");
};
const howOf = (event) => (event.altKey ? "fewer" : event.shiftKey ? "more" : "new");

surface.addEventListener("pointerdown", (event) => {
  if (event.button > 0) return;
  surface.setPointerCapture(event.pointerId);
  touches.set(event.pointerId, place(event));
  moved = false;
  if (touches.size === 1) {
    start = { at: place(event), left: view.left, top: view.top, tool: event.shiftKey && tool === "move" ? "rectangle" : tool };
    shape = null;
  } else {
    shape = null;
    pinch = spread();
  }
  hideTip();
});
const spread = () => {
  const [one, two] = [...touches.values()];
  return Math.hypot(one[0] - two[0], one[1] - two[1]);
};
const pinched = () => {
  const [one, two] = [...touches.values()];
  const now = spread();
  if (pinch > 0) zoomAt(now / pinch, (one[0] + two[0]) / 2, (one[1] + two[1]) / 2);
  pinch = now;
  moved = true;
};
surface.addEventListener("pointermove", (event) => {
  const at = place(event);
  if (!touches.has(event.pointerId)) return event.pointerType === "mouse" ? hover(at) : undefined;
  touches.set(event.pointerId, at);
  if (touches.size === 2) return pinched();
  if (!start || touches.size > 2) return undefined;
  const far = Math.hypot(at[0] - start.at[0], at[1] - start.at[1]);
  if (!moved && far < (event.pointerType === "mouse" ? 4 : 9)) return undefined;
  moved = true;
  if (start.tool === "move") {
    view.left = start.left + at[0] - start.at[0];
    view.top = start.top + at[1] - start.at[1];
  } else if (start.tool === "rectangle") shape = rectangle(start.at, at);
  else shape = [...(shape || [start.at]), at];
  return draw();
});
const release = (event) => {
  if (!touches.delete(event.pointerId)) return;
  if (event.type === "pointerup" && start && !touches.size) {
    if (!moved) pick(place(event), event);
    else if (shape && start.tool !== "move") select(rowsInside(shape), howOf(event));
  }
  if (!touches.size) start = shape = null;
  pinch = 0;
  draw();
};
surface.addEventListener("pointerup", release);
surface.addEventListener("pointercancel", release);
surface.addEventListener("pointerleave", () => hideTip());

const pick = ([x, y], event) => {
  const row = rowAt(x, y, event.pointerType === "mouse" ? 12 : 26);
  if (row < 0) return showImage(-1);
  if (event.ctrlKey || event.metaKey) return select([row], state.selected[row] ? "fewer" : "more");
  return showImage(row);
};
surface.addEventListener("wheel", (event) => {
  event.preventDefault();
  const step = event.deltaMode === 1 ? event.deltaY * 30 : event.deltaY;
  zoomAt(Math.exp(-step * (event.ctrlKey ? 0.01 : 0.0018)), ...place(event));
}, { passive: false });
surface.addEventListener("dblclick", (event) => zoomAt(2, ...place(event)));

const middle = () => [view.width / 2, view.height / 2];
const pan = (x, y) => {
  view.left += x;
  view.top += y;
  draw();
};
const KEYS = {
  ArrowLeft: () => pan(60, 0),
  ArrowRight: () => pan(-60, 0),
  ArrowUp: () => pan(0, 60),
  ArrowDown: () => pan(0, -60),
  "+": () => zoomAt(1.4, ...middle()),
  "=": () => zoomAt(1.4, ...middle()),
  "-": () => zoomAt(1 / 1.4, ...middle()),
  0: () => { fit(); draw(); },
  Enter: () => showImage(rowAt(...middle(), Infinity)),
  " ": () => state.focus >= 0 && select([state.focus], state.selected[state.focus] ? "fewer" : "more"),
  Escape: () => { state.focus >= 0 ? showImage(-1) : select([]); },
};
surface.addEventListener("keydown", (event) => {
  const act = event.ctrlKey || event.metaKey || event.altKey ? null : KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

const tip = element("tip");
const hideTip = () => { tip.hidden = true; };
const hover = ([x, y]) => {
  const row = rowAt(x, y, 10);
  surface.classList.toggle("over", row >= 0);
  if (row < 0) return hideTip();
  tip.replaceChildren(thumb(row, 88), make("b", {}, labelOf(row)));
  tip.hidden = false;
  tip.style.left = `${Math.min(x + 16, view.width - 130)}px`;
  tip.style.top = `${Math.min(y + 16, view.height - 136)}px`;
  return undefined;
};

for (const each of document.querySelectorAll("[data-tool-button]")) {
  each.addEventListener("click", () => useTool(each.dataset.toolButton));
}
element("closer").addEventListener("click", () => zoomAt(1.6, ...middle()));
element("wider").addEventListener("click", () => zoomAt(1 / 1.6, ...middle()));
element("whole").addEventListener("click", () => { fit(); draw(); });
element("show-pictures").addEventListener("click", (event) => {
  showPictures = !showPictures;
  event.currentTarget.setAttribute("aria-pressed", String(showPictures));
  draw();
});
