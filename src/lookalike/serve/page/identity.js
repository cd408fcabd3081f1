// One identity: its photos, and what can be changed about it.

import { decide, identityPath, mayWrite, picture, request } from "./api.js";
import { announce, askText, button, confirmDialog, count, errorLine, h, icon, nameOf, openDialog, toast } from "./dom.js";
import { addPhotosDialog, identityHash } from "./identities.js";
import { exists, idOf, mergeInto, pickName, undoDecision } from "./names.js";
import { ago } from "./words.js";

const changed = () => document.dispatchEvent(new Event("changed"));

export const showIdentity = async (view, name) => {
  const again = () => showIdentity(view, name);
  const head = (...more) => [h("a", { class: "back", href: "#identities" }, icon("back"), "All identities"), h("h1", { tabindex: "-1" }, nameOf(name)), ...more];
  let identity;
  try { identity = await request("GET", identityPath(name)); }
  catch (error) { view.replaceChildren(...head(errorLine(error.message))); return; }

  const chosen = new Set();
  const failed = (error) => toast(errorLine(error.message));
  const attempt = async (work) => { try { await work(); } catch (error) { failed(error); } };
  /** Go where the photos are now, and offer to undo. */
  const arrive = (target, decision, ...text) => {
    changed();
    if (location.hash === identityHash(target)) again();
    else location.hash = identityHash(target);
    toast(text, decision && { text: "Undo", run: () => attempt(async () => { await undoDecision(decision); changed(); if (location.hash === identityHash(name)) again(); else location.hash = identityHash(name); announce("Undone."); }) });
  };

  const merge = async (into) => {
    const sure = await confirmDialog(`Merge ${name} and ${into}?`, `${count(identity.photos.length, "photo")} of ${name} become photos of ${into}. You can undo this.`, "Merge");
    if (sure) await attempt(async () => arrive(into, await mergeInto(name, into), nameOf(name), " and ", nameOf(into), " are merged."));
  };
  const rename = async () => {
    const text = await askText(identity.unknown ? "Give it a name" : "Rename", "Name", { value: identity.unknown ? "" : name });
    if (!text || text === name) return;
    await attempt(async () => {
      if (await exists(text)) await merge(text);
      else arrive(text, await mergeInto(name, text), nameOf(name), " is now called ", nameOf(text), ".");
    });
  };
  const mergeWith = async () => {
    const choice = await pickName("Merge with…", { exclude: [name], text: "Choose who it really is. All its photos are moved there." });
    if (choice) await merge(choice.name);
  };
  const split = async () => {
    const photos = [...chosen];
    const text = await askText(`Split off ${count(photos.length, "photo")}`, "Name of the new identity (may be left empty)", {
      optional: true, yes: "Split off", hint: "Without a name, it gets a number such as new-1. You can undo this.",
      submit: async (value) => {
        if (value && await exists(value)) throw new Error(`There is already somebody called ${value}. Use “Move to…” to move the photos there.`);
        return decide(identityPath(name, "/split"), { photos, into: value || null });
      },
    });
    if (text) arrive(photos.length === identity.photos.length ? text.name : name, text.decision, `${count(photos.length, "photo")} split off as `, nameOf(text.name), ".");
  };
  const move = async () => {
    const photos = [...chosen];
    const choice = await pickName(`Move ${count(photos.length, "photo")} to…`, { exclude: [name] });
    if (!choice) return;
    await attempt(async () => {
      const { decision } = await decide(identityPath(choice.name, "/same"), { photos });
      arrive(photos.length === identity.photos.length ? choice.name : name, decision, `${count(photos.length, "photo")} moved to `, nameOf(choice.name), ".");
    });
  };
  const remove = async () => {
    const photos = [...chosen], all = photos.length === identity.photos.length;
    const sure = await confirmDialog(`Remove ${count(photos.length, "photo")}?`, [`${photos.length === 1 ? "The photo is" : "The photos are"} deleted from the index for good; this cannot be undone.${all ? ` ${name} then has no photos left and is gone, too.` : ""}`, "Files elsewhere on your computer or phone are not touched."], "Remove", true);
    if (!sure) return;
    await attempt(async () => {
      for (const id of photos) await request("DELETE", identityPath(name, `/photos/${encodeURIComponent(id)}`));
      changed();
      toast(`${count(photos.length, "photo")} removed.`);
      if (all) location.hash = "#identities";
      else again();
    });
  };
  const forget = async () => {
    const sure = await confirmDialog(`Forget ${name}?`, [
      `This deletes ${count(identity.photos.length, "photo")} of ${name}: the pictures that the service stored, what it computed from them, the name, and all decisions about it.`,
      "It cannot be undone. Files elsewhere on your computer or phone are not touched.",
    ], "Forget", true);
    if (!sure) return;
    await attempt(async () => {
      await request("DELETE", identityPath(name));
      changed();
      location.hash = "#identities";
      toast([nameOf(name), " is forgotten."]);
    });
  };
  const add = async () => {
    const result = await addPhotosDialog(`Add photos of ${name}`, name);
    if (!result) return;
    changed();
    await again();
    toast([`${count(result.photos.length, "photo")} added. `, (result.warnings ?? []).join(" ")]);
  };
  const enlarge = (photo) => openDialog(name, (done) => [
    h("div", { class: "large" }, picture(idOf(photo.picture ?? photo.id), `Photo of ${name}`, 1024)),
    photo.added ? h("p", { class: "note" }, `Added ${ago(photo.added)}`) : [],
    h("div", { class: "buttons end" }, button("Close", () => done(null), { class: "main", autofocus: true })),
  ], { class: "wide" });

  const bar = h("div", { class: "selection", role: "group", "aria-label": "Selected photos", hidden: true });
  const select = (id, on) => {
    if (on) chosen.add(id);
    else chosen.delete(id);
    bar.hidden = !chosen.size;
    const text = `${count(chosen.size, "photo")} selected`;
    bar.querySelector("p").textContent = text;
    announce(text);
  };
  bar.append(h("p", {}), h("div", { class: "buttons" }, button("Split off…", split), button("Move to…", move), button("Remove…", remove, { class: "danger" })));

  const photoTile = (photo, i) => {
    const box = h("input", { type: "checkbox", "aria-label": `Select photo ${i + 1}`, onchange: (event) => select(photo.id, event.target.checked) });
    return h("li", {}, h("div", { class: "photo" },
      h("button", { type: "button", class: "see", onclick: () => enlarge(photo), "aria-label": `Enlarge photo ${i + 1}` }, picture(photo.picture && idOf(photo.picture), "", 256)),
      mayWrite() ? h("label", { class: "check" }, box) : ""),
    photo.added ? h("span", { title: new Date(photo.added).toLocaleString("en") }, ago(photo.added)) : "");
  };
  view.replaceChildren(...head(
    h("p", { class: "lede" }, count(identity.photos.length, "photo"), identity.unknown ? ". It has no name yet." : "."),
    mayWrite() ? h("div", { class: "buttons" },
      button(identity.unknown ? "Give it a name…" : "Rename…", rename, { class: identity.unknown ? "main" : "" }), button("Add photos…", add), button("Merge with…", mergeWith), button("Forget…", forget, { class: "danger" })) : "",
    mayWrite() && identity.photos.length ? h("p", { class: "note" }, "Tick photos that show somebody else, to split them off, move or remove them.") : "",
    h("ul", { class: "tiles" }, ...identity.photos.map(photoTile)), bar));
};
