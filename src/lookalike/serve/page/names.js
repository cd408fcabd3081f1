// A dialog to find a name by typing a part of it.

import { decide, identityPath, picture, request } from "./api.js";
import { button, count, h, nameOf, openDialog } from "./dom.js";

export const findIdentities = (query, signal = undefined, limit = 8) =>
  request("GET", `identities?query=${encodeURIComponent(query)}&limit=${limit}`, undefined, signal);

/** Whether somebody has exactly this name. */
export const exists = async (name) => (await findIdentities(name, undefined, 50)).identities.some((each) => each.name === name);

const option = (id, children, choose) => h("li", { id, role: "option", "aria-selected": "false", onclick: choose, onmousedown: (event) => event.preventDefault() }, ...children);

/**
 * Choose an identity: {name, isNew}, or null. `exclude` are names that are not offered; with `allowNew`, a text that
 * nobody has as a name may be chosen as a new one.
 */
export const pickName = (title, { exclude = [], allowNew = false, text = "" } = {}) => openDialog(title, (done, fail) => {
  const list = h("ul", { id: "names", role: "listbox", "aria-label": "Names" });
  const status = h("p", { class: "note", role: "status" });
  const input = h("input", {
    id: "name-query", type: "text", role: "combobox", autocomplete: "off", autofocus: true, maxlength: 200, spellcheck: "false", "aria-expanded": "true", "aria-controls": "names", "aria-autocomplete": "list",
    oninput: () => { clearTimeout(timer); timer = setTimeout(search, 120); }, onkeydown: (event) => onKey(event),
  });
  let timer = 0, running = null, shownFor = "", choices = [], active = -1;
  const activate = (number) => {
    active = number;
    [...list.children].forEach((each, i) => each.setAttribute("aria-selected", String(i === active)));
    if (active < 0) return input.removeAttribute("aria-activedescendant");
    list.children[active].scrollIntoView({ block: "nearest" });
    return input.setAttribute("aria-activedescendant", list.children[active].id);
  };
  const show = (identities, query) => {
    shownFor = query;
    const offered = identities.filter((each) => !exclude.includes(each.name));
    choices = offered.map((each) => ({ name: each.name, isNew: false }));
    const items = offered.map((each, i) => option(`name-${i}`, [picture(idOf(each.picture), "", 128), h("span", {}, nameOf(each.name), h("small", {}, count(each.photos, "photo")))], () => done(choices[i])));
    if (allowNew && query && !identities.some((each) => each.name === query)) {
      const number = choices.push({ name: query, isNew: true }) - 1;
      items.push(option(`name-${number}`, [h("span", { class: "plus", "aria-hidden": "true" }, "+"), h("span", {}, "New: ", nameOf(query), h("small", {}, "nobody has this name yet"))], () => done(choices[number])));
    }
    list.replaceChildren(...items);
    status.textContent = choices.length ? "" : query ? "Nobody has such a name." : "There is nobody to choose.";
    activate(query && choices.length ? 0 : -1);
  };
  const search = async () => {
    clearTimeout(timer);
    timer = 0;
    running?.abort();
    running = new AbortController();
    const query = input.value.trim();
    try { show((await findIdentities(query, running.signal)).identities, query); }
    catch (error) { if (error.name !== "AbortError") fail(error.message); }
  };
  const onKey = async (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && choices.length) {
      event.preventDefault();
      activate((active + step + choices.length) % choices.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (timer || input.value.trim() !== shownFor) await search();
      if (choices[active]) done(choices[active]);
    }
  };
  search();
  return [
    text ? h("p", {}, text) : [],
    h("label", { for: "name-query" }, "Type a part of the name"), input, list, status,
    h("div", { class: "buttons end" }, button("Cancel", () => done(null))),
  ];
}, { class: "picker" });

/** The id of an enrolled photo in the address of its picture. */
export const idOf = (address) => decodeURIComponent((address ?? "").split("?")[0].split("/").pop());

/** Move all photos of one identity to another name; the number of the decision. */
export const mergeInto = async (name, into) => (await decide(identityPath(name, "/merge"), { into })).decision;

export const undoDecision = (decision) => decide("undo", { decision });
