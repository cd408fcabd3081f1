// Elements, dialogs and messages. Text from the service only ever becomes text nodes and attributes.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** An element with attributes ("on…" are listeners) and children; empty children are left out. */
export const h = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
};

export const icon = (name) => {
  const svg = document.createElementNS(SVG, "svg"), use = document.createElementNS(SVG, "use");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
};

/** A name that may be written in any direction. */
export const nameOf = (name) => h("bdi", { class: "name" }, name);

/** A button; the text in one piece, so that it wraps like text. */
export const button = (text, onclick, attributes = {}) => h("button", { type: "button", onclick, ...attributes }, h("span", {}, text));

export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

/** Tell a screen reader. */
export const announce = (text) => {
  const live = byId("live");
  live.textContent = "";
  setTimeout(() => { live.textContent = text; }, 60);
};

/** A message at the bottom that stays until it is closed or replaced; with an action such as Undo. */
export const toast = (content, action = null) => {
  const place = byId("toast"), back = document.activeElement;
  const close = () => { const inside = place.contains(document.activeElement); place.replaceChildren(); if (inside && back?.isConnected) back.focus(); };
  const act = action && button(action.text, async () => { close(); await action.run(); }, { class: "act" });
  place.dataset.view = location.hash;
  place.replaceChildren(h("p", {}, content), ...(act ? [act] : []), h("button", { type: "button", class: "icon", "aria-label": "Close the message", onclick: close }, icon("close")));
};
/** Remove the message, unless it belongs to the view that is shown now. */
export const clearOldToast = () => { if (byId("toast").dataset.view !== location.hash) byId("toast").replaceChildren(); };

/** Put the focus on a heading or a region that has no focus of its own. */
export const focusOn = (node) => {
  if (!node) return;
  if (!node.hasAttribute("tabindex") && !node.matches("button, a, input, select")) node.setAttribute("tabindex", "-1");
  node.focus({ preventScroll: false });
};

/** A line with an error, which a screen reader reads at once. */
export const errorLine = (text) => h("p", { class: "error", role: "alert" }, icon("warning"), h("span", {}, text));

/**
 * A modal dialog; resolves to what `done` was called with, or null if it was closed.
 * `build(done, fail)` returns the children; `fail(text)` shows an error inside.
 */
export const openDialog = (title, build, attributes = {}) => new Promise((resolve) => {
  const back = document.activeElement, errors = h("div", { class: "errors" });
  let result = null;
  const dialog = h("dialog", { "aria-labelledby": "dialog-title", ...attributes });
  const done = (value) => { result = value; dialog.close(); };
  const fail = (text) => errors.replaceChildren(errorLine(text));
  const heading = h("h2", { id: "dialog-title", tabindex: "-1" }, title);
  const shut = h("button", { type: "button", class: "icon close", "aria-label": "Close", onclick: () => dialog.close() }, icon("close"));
  dialog.append(h("div", { class: "dialog-head" }, heading, shut), ...build(done, fail, dialog).flat(), errors);
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (back?.isConnected) back.focus();
    resolve(result);
  });
  document.body.append(dialog);
  dialog.showModal();
  (dialog.querySelector("[autofocus]") ?? heading).focus();
});

/** Ask whether to go on. `text` says what happens. */
export const confirmDialog = (title, text, yes, danger = false) => openDialog(title, (done) => [
  ...[text].flat().map((line) => h("p", {}, line)),
  h("div", { class: "buttons end" }, button("Cancel", () => done(null), danger ? { autofocus: true } : {}), button(yes, () => done(true), { class: danger ? "danger" : "main", ...(danger ? {} : { autofocus: true }) })),
]);

/** Ask for a line of text; null if it was closed. `submit(text)` may throw an error whose text is then shown. */
export const askText = (title, label, options = {}) => openDialog(title, (done, fail) => {
  const input = h("input", { id: "dialog-text", type: options.type ?? "text", value: options.value ?? "", maxlength: options.maxlength ?? 200, autocomplete: options.autocomplete ?? "off", required: !options.optional, autofocus: true, "aria-describedby": options.hint ? "dialog-hint" : null });
  setTimeout(() => input.select());
  const send = h("button", { type: "submit", class: "main" }, options.yes ?? "Save");
  const submit = async (event) => {
    event.preventDefault();
    const text = input.value.trim();
    if (!text && !options.optional) { fail("Please fill this in."); return input.focus(); }
    send.disabled = true;
    try { return done(options.submit ? await options.submit(text) : text); }
    catch (error) { fail(error.message); send.disabled = false; return input.focus(); }
  };
  return [
    options.text ? h("p", {}, options.text) : [],
    h("form", { onsubmit: submit, novalidate: true },
      h("label", { for: "dialog-text" }, label), input,
      options.hint ? h("p", { id: "dialog-hint", class: "note" }, options.hint) : [],
      h("div", { class: "buttons end" }, button("Cancel", () => done(null)), send)),
  ];
});
