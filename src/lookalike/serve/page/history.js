// What was decided, by whom and when; newest first, with undo.

import { author, mayWrite, request, setAuthor } from "./api.js";
import { announce, button, count, errorLine, focusOn, h, nameOf } from "./dom.js";
import { identityHash } from "./identities.js";
import { undoDecision } from "./names.js";
import { ago } from "./words.js";

/** Author of decisions of people who gave no name. */
const NOBODY = "service";
const link = (name) => h("a", { href: identityHash(name) }, nameOf(name));
const photosIn = (decision) => count(decision.subject.split(",").length, "photo");

const SENTENCES = {
  same: (each) => [`${photosIn(each)} moved to `, link(each.object)],
  different: (each) => [`${photosIn(each)} said not to show `, link(each.object)],
  merge: (each) => [nameOf(each.subject), " became ", link(each.object)],
  split: (each) => [`${photosIn(each)} split off as `, link(each.object)],
  undo: (each) => [`Decision ${each.undoes} was taken back`],
};

export const showHistory = async (view) => {
  const heading = h("h1", { tabindex: "-1" }, "History"), problems = h("div"), list = h("ol", { class: "history" });
  const intro = h("p", { class: "lede" }, "Merges, splits, names and corrections. Photos that were added or removed are not listed.");
  const who = h("input", { id: "author", type: "text", value: author(), maxlength: 100, autocomplete: "name", placeholder: "Nobody in particular", onchange: () => { setAuthor(who.value.trim()); announce("Saved."); } });
  view.replaceChildren(heading, intro, mayWrite() ? h("div", { class: "tools" }, h("label", { for: "author" }, "Your name, for what you decide from now on"), h("div", { class: "field plain" }, who)) : "", problems, list);
  const load = async () => {
    try {
      const decisions = await request("GET", "decisions?limit=200");
      const undone = new Set(decisions.map((each) => each.undoes).filter(Boolean));
      list.replaceChildren(...decisions.map((each) => h("li", { class: undone.has(each.id) ? "undone" : "" },
        h("p", {}, h("span", { class: "what" }, ...(SENTENCES[each.kind] ?? (() => [each.kind]))(each)), undone.has(each.id) ? h("span", { class: "tag" }, "undone") : "",
          h("small", {}, `${each.id} · `, h("time", { datetime: each.time, title: new Date(each.time).toLocaleString("en") }, ago(each.time)), each.author && each.author !== NOBODY ? [" · ", nameOf(each.author)] : "")),
        each.can_undo && mayWrite() ? button("Undo", () => undo(each), { "aria-label": `Undo decision ${each.id}` }) : "")));
      if (!decisions.length) problems.replaceChildren(h("p", { class: "note" }, "Nothing was decided yet."));
    } catch (error) { problems.replaceChildren(errorLine(error.message)); }
  };
  const undo = async (decision) => {
    problems.replaceChildren();
    try {
      await undoDecision(decision.id);
      document.dispatchEvent(new Event("changed"));
      await load();
      focusOn(heading);
      announce(`Decision ${decision.id} was taken back.`);
    } catch (error) { problems.replaceChildren(errorLine(error.message)); }
  };
  await load();
};
