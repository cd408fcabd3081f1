// Everybody in the index: browse, search, add somebody.

import { identityPath, info, mayWrite, picture, request } from "./api.js";
import { announce, button, byId, count, errorLine, h, icon, nameOf, openDialog, toast } from "./dom.js";
import { fit } from "./photos.js";
import { idOf } from "./names.js";

const PAGE = 60;

export const identityHash = (name) => `#identity/${encodeURIComponent(name)}`;

export const tile = (identity) => h("li", {}, h("a", { class: "tile", href: identityHash(identity.name) },
  picture(identity.picture && idOf(identity.picture), "", 256),
  h("b", {}, nameOf(identity.name)),
  h("span", {}, count(identity.photos, "photo"), identity.unknown ? " · no name yet" : "")));

/** Enrol photos of somebody; the dialog of "Add somebody" and "Add photos". */
export const addPhotosDialog = (title, name = null) => openDialog(title, (done, fail) => {
  const named = name === null && h("input", { id: "add-name", type: "text", maxlength: 200, autocomplete: "off", autofocus: true });
  const files = h("input", { id: "add-files", type: "file", accept: "image/*", multiple: true, autofocus: name !== null });
  const send = h("button", { type: "submit", class: "main" }, "Add");
  const submit = async (event) => {
    event.preventDefault();
    if (!files.files.length) { fail("Choose at least one photo."); return files.focus(); }
    send.disabled = true;
    try {
      const form = new FormData();
      for (const file of files.files) form.append("image", (await fit(file, info?.max_bytes)).file, file.name);
      const text = named ? named.value.trim() : "";
      if (text) form.append("name", text);
      return done(await request("POST", name === null ? "identities" : identityPath(name), form));
    } catch (error) { fail(error.message); send.disabled = false; return send.focus(); }
  };
  return [h("form", { onsubmit: submit },
    named ? [h("label", { for: "add-name" }, "Name (may be left empty)"), named, h("p", { class: "note" }, "Without a name, it gets a number such as new-1.")] : [],
    h("label", { for: "add-files" }, "Photos of this one"), files,
    h("div", { class: "buttons end" }, button("Cancel", () => done(null)), send))];
});

/** "Add somebody" with what happens after it. */
export const addSomebody = async () => {
  const result = await addPhotosDialog("Add somebody");
  if (!result) return;
  document.dispatchEvent(new Event("changed"));
  location.hash = identityHash(result.name);
  toast([`${count(result.photos.length, "photo")} saved as `, nameOf(result.name), ". ", (result.warnings ?? []).join(" ")]);
};

let query = "", unknownOnly = false, wanted = 0;

export const showIdentities = async (view) => {
  const list = h("ul", { class: "tiles" }), status = h("p", { class: "note", role: "status" }), more = button("Show more", () => load(false), { hidden: true });
  const input = h("input", { id: "find", type: "search", placeholder: "Name", value: query, autocomplete: "off", maxlength: 200 });
  const filter = h("input", { id: "unknown", type: "checkbox", role: "switch" });
  filter.checked = unknownOnly;
  let shown = 0, timer = 0;
  const load = async (anew) => {
    const turn = (wanted += 1);
    if (anew) shown = 0;
    try {
      const answer = await request("GET", `identities?query=${encodeURIComponent(query)}&offset=${shown}&limit=${PAGE}${unknownOnly ? "&unknown=true" : ""}`);
      if (turn !== wanted) return;
      const focus = !anew && document.activeElement === more;
      const items = answer.identities.filter((each) => !unknownOnly || each.unknown).map(tile);
      if (anew) list.replaceChildren(...items);
      else list.append(...items);
      if (focus) items[0]?.querySelector("a").focus();
      shown += answer.identities.length;
      more.hidden = shown >= answer.total;
      status.textContent = answer.total ? (query || unknownOnly ? `${count(list.children.length, "identity", "identities")} found` : "") : query || unknownOnly ? "Nobody has such a name." : "Nobody is enrolled yet.";
      if (unknownOnly && !list.children.length && more.hidden) status.textContent = "Everybody has a name.";
    } catch (error) { list.replaceChildren(); status.replaceChildren(errorLine(error.message)); more.hidden = true; }
  };
  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => { query = input.value.trim(); load(true); }, 150); });
  filter.addEventListener("change", () => { unknownOnly = filter.checked; load(true); });
  view.replaceChildren(
    h("div", { class: "view-head" }, h("h1", { tabindex: "-1" }, "Identities"), mayWrite() ? h("button", { type: "button", onclick: addSomebody }, icon("new"), h("span", {}, "Add somebody")) : ""),
    h("div", { class: "tools", role: "search" },
      h("div", { class: "field" }, h("label", { class: "hidden", for: "find" }, "Find a name"), icon("search"), input),
      h("label", { class: "switch" }, filter, h("span", {}, "Only those without a name"))),
    status, list, h("div", { class: "buttons" }, more));
  await load(true);
  announce(byId("index-size").textContent);
};
