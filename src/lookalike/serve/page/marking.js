// A frame that is drawn on a photo by hand, with a pointer or the keyboard, around one individual.

import { announce, button, h } from "./dom.js";

const SMALLEST = 0.04, STEP = 0.02;
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/**
 * Let a person draw a frame on `shot`, an element with an image. `tools` gets the buttons. Resolves to
 * [left, top, right, bottom] as shares of the photo, or null.
 */
export const markOne = (shot, tools) => new Promise((resolve) => {
  const box = { left: 0.25, top: 0.25, right: 0.75, bottom: 0.75 };
  const frame = h("button", { type: "button", class: "frame drawn", "aria-label": "Frame. Arrow keys move it, shift and arrow keys change its size, Enter looks it up." });
  const draw = () => {
    frame.style.left = `${100 * box.left}%`;
    frame.style.top = `${100 * box.top}%`;
    frame.style.width = `${100 * (box.right - box.left)}%`;
    frame.style.height = `${100 * (box.bottom - box.top)}%`;
  };
  let start = null;
  const place = (event) => {
    const area = shot.getBoundingClientRect();
    return [clamp((event.clientX - area.left) / area.width, 0, 1), clamp((event.clientY - area.top) / area.height, 0, 1)];
  };
  const down = (event) => { start = place(event); shot.setPointerCapture(event.pointerId); event.preventDefault(); };
  const move = (event) => {
    if (!start) return;
    const [x, y] = place(event);
    if (Math.abs(x - start[0]) < SMALLEST || Math.abs(y - start[1]) < SMALLEST) return;
    Object.assign(box, { left: Math.min(x, start[0]), right: Math.max(x, start[0]), top: Math.min(y, start[1]), bottom: Math.max(y, start[1]) });
    draw();
  };
  const up = () => { start = null; };
  const end = (result) => {
    for (const [name, listener] of Object.entries(listeners)) shot.removeEventListener(name, listener);
    shot.classList.remove("marking");
    frame.remove();
    tools.replaceChildren();
    resolve(result);
  };
  const done = () => end([box.left, box.top, box.right, box.bottom]);
  const listeners = { pointerdown: down, pointermove: move, pointerup: up, pointercancel: up };
  for (const [name, listener] of Object.entries(listeners)) shot.addEventListener(name, listener);
  frame.addEventListener("keydown", (event) => {
    const [x, y] = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key] ?? [0, 0];
    if (event.key === "Enter") { event.preventDefault(); return done(); }
    if (event.key === "Escape") return end(null);
    if (!x && !y) return undefined;
    event.preventDefault();
    if (event.shiftKey) {
      box.right = clamp(box.right + x, box.left + SMALLEST, 1);
      box.bottom = clamp(box.bottom + y, box.top + SMALLEST, 1);
    } else {
      const dx = clamp(x, -box.left, 1 - box.right), dy = clamp(y, -box.top, 1 - box.bottom);
      Object.assign(box, { left: box.left + dx, right: box.right + dx, top: box.top + dy, bottom: box.bottom + dy });
    }
    return draw();
  });
  draw();
  shot.classList.add("marking");
  shot.append(frame);
  tools.replaceChildren(h("p", { class: "note" }, "Draw a frame around one individual."), button("Look it up", done, { class: "main" }), button("Cancel", () => end(null)));
  frame.focus();
  announce("Draw a frame around one individual.");
});
