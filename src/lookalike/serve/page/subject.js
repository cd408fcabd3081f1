// One individual on a photo: the answer, the matches, and what a person says about it.

import { decide, identityPath, mayWrite, picture, request, ServiceError } from "./api.js";
import { announce, askText, button, errorLine, focusOn, h, icon, nameOf, openDialog } from "./dom.js";
import { exists, pickName } from "./names.js";
import { decimals } from "./words.js";

/** The answer in plain words: [kind, headline as text, headline as nodes, explanation]. */
const verdict = (subject, rejected) => {
  const { point } = subject, nearest = subject.hits.find((hit) => !rejected.includes(hit.identity));
  if (rejected.length) {
    const last = rejected[rejected.length - 1];
    return ["unsure", `Not ${last}. Who is it?`, ["Not ", nameOf(last), ". Who is it?"], "Your answer is saved together with the right name."];
  }
  if (!nearest) return ["new", "Nobody is known yet", ["Nobody is known yet"], "This is the first one: give it a name."];
  const limit = point ? decimals(point.threshold) : "";
  if (subject.answer === "known") return ["known", `This is ${subject.identity}`, ["This is ", nameOf(subject.identity)], `${cap(subject.words)}: ${decimals(subject.similarity)}, and a name is given from ${limit}.${/^new-\d+$/.test(subject.identity) ? " It has no name yet." : ""}`];
  if (subject.answer === "new") return ["new", "Probably nobody you know yet", ["Probably nobody you know yet"], `The most similar reaches ${decimals(subject.similarity)}; a name is given from ${limit}.`];
  if (subject.answer === "unsure") return ["unsure", `Perhaps ${nearest.identity}, not sure`, ["Perhaps ", nameOf(nearest.identity), ", not sure"], `${decimals(subject.similarity)} is too close to the limit, which is near ${limit}. Compare, or take another photo.`];
  return ["unsure", `Most similar: ${nearest.identity}`, ["Most similar: ", nameOf(nearest.identity)], "This index has no threshold, so whether it is the same is for you to say."];
};
const cap = (text) => text ? text[0].toUpperCase() + text.slice(1) : "Similarity";

/** Where the similarity lies between 0 and 1, with the threshold and its interval. For the eye only: the text says it. */
const scale = ({ similarity, point }) => {
  if (!point) return null;
  const node = h("div", { class: "scale", "aria-hidden": "true" }, h("i", { class: "zone" }), h("i", { class: "limit" }), h("i", { class: "value" }));
  const clamp = (value) => String(Math.min(1, Math.max(0, value)));
  const [low, high] = point.unsure_between ?? [point.threshold, point.threshold];
  for (const [key, value] of Object.entries({ low, high, limit: point.threshold, value: similarity })) node.style.setProperty(`--${key}`, clamp(value));
  return node;
};

/**
 * The place on the page of one subject. `photo` gives `crop(box)`, its picture, and
 * `uploads(subject, again)`, under which the service keeps it until it is enrolled.
 */
export const subjectCard = (subject, photo) => {
  const rejected = [], writable = mayWrite();
  let saved = null, problem = "", number = 0;
  const node = h("section", { class: "subject" });
  const heading = h("h3", { tabindex: "-1" });

  const act = async (work) => {
    problem = "";
    node.setAttribute("aria-busy", "true");
    for (const each of node.querySelectorAll("button")) each.disabled = true;
    try { await work(); }
    catch (error) { problem = error.message; }
    node.removeAttribute("aria-busy");
    render();
    focusOn(heading);
  };

  const enrol = (name, isNew) => act(async () => {
    const send = async (again) => {
      const form = new FormData();
      for (const upload of await photo.uploads(subject, again)) form.append("upload", upload);
      if (isNew && name) form.append("name", name);
      return request("POST", isNew ? "identities" : identityPath(name), form);
    };
    const result = await send(false).catch((error) => { if (error.status === 410) return send(true); throw error; });
    for (const other of rejected.filter((each) => each !== result.name)) {
      await decide(identityPath(other, "/different"), { photos: result.photos });
    }
    saved = { ...result, added: result.photos.filter((id) => !result.already.includes(id)), isNew };
    announce(!saved.added.length ? `${result.name} had this photo before.` : isNew ? `Saved as ${result.name}.` : `Saved: this is ${result.name}.`);
    document.dispatchEvent(new Event("changed"));
  });

  /** Forget the photos that were added, and with them all decisions about them. */
  const takeBack = () => act(async () => {
    for (const id of saved.added) await request("DELETE", identityPath(saved.name, `/photos/${encodeURIComponent(id)}`));
    announce(`Taken back: the photo is no longer one of ${saved.name}.`);
    saved = null;
    document.dispatchEvent(new Event("changed"));
  });

  const reject = (name) => {
    rejected.push(name);
    render();
    focusOn(heading);
  };
  const somebodyElse = async () => {
    const choice = await pickName("Who is it?", { allowNew: true, exclude: rejected });
    if (choice) enrol(choice.name, choice.isNew);
  };
  const isNew = async () => {
    const name = await askText("A new one", "Name (may be left empty)", {
      optional: true, yes: "Save as a new one", hint: "Without a name, it gets a number such as new-1 and can be named later.",
      submit: async (text) => {
        if (text && await exists(text)) throw new ServiceError(`There is already somebody called ${text}. Choose another name, or close this and pick ${text} from the names.`, 409);
        return text;
      },
    });
    if (name !== null) enrol(name, true);
  };
  const compare = async (hit) => {
    const answer = await openDialog("Is it the same one?", (done) => [
      h("div", { class: "compare" },
        h("figure", {}, photo.crop(subject.box), h("figcaption", {}, "Your photo")),
        h("figure", {}, picture(hit.id, `Enrolled photo of ${hit.identity}`, 512), h("figcaption", {}, nameOf(hit.identity)))),
      h("p", { class: "note" }, `${cap(hit.words)}: ${decimals(hit.similarity)}`),
      h("div", { class: "buttons end" },
        ...(writable ? [button("No, they differ", () => done("no")), button(["Yes, this is ", nameOf(hit.identity)], () => done("yes"), { class: "main" })]
          : [button("Close", () => done(null), { class: "main" })])),
    ], { class: "wide" });
    if (answer === "yes") enrol(hit.identity, false);
    if (answer === "no") reject(hit.identity);
  };

  const hitTile = (hit) => h("li", { class: hit.likely ? "likely" : "" },
    h("button", { type: "button", class: "hit", onclick: () => compare(hit) },
      h("span", { class: "hidden" }, "Compare with "), picture(hit.id, "", 256),
      h("b", {}, nameOf(hit.identity)), h("span", {}, hit.words ?? "", " ", h("span", { class: "figure" }, decimals(hit.similarity)))));

  const choices = (candidate, kind) => {
    const yes = candidate && button(["Yes, this is ", nameOf(candidate.identity)], () => enrol(candidate.identity, false), { class: candidate.likely || !rejected.length ? "main" : "" });
    const no = candidate && kind !== "new" && button(["No, this is not ", nameOf(candidate.identity)], () => reject(candidate.identity));
    const fresh = button("This is a new one…", isNew, { class: kind === "new" ? "main" : "" });
    const other = button("This is somebody else…", somebodyElse);
    if (kind === "new") return [fresh, subject.hits.length ? button("This is somebody you know…", somebodyElse) : null];
    return [yes, no, other, fresh];
  };

  const outcome = () => {
    if (!saved.added.length) return [nameOf(saved.name), saved.photos.length > 1 ? " had these photos before. " : " had this photo before. "];
    return [saved.isNew ? "Saved as " : "Saved as a photo of ", nameOf(saved.name), ". "];
  };
  const savedPart = () => [
    h("p", { class: "done" }, icon("known"), h("span", {}, ...outcome(), h("a", { href: `#identity/${encodeURIComponent(saved.name)}` }, "See all photos"))),
    ...(saved.warnings ?? []).map((text) => h("p", { class: "warning" }, icon("warning"), h("span", {}, text))),
    saved.added.length ? h("div", { class: "buttons" }, button("Undo", takeBack)) : null,
  ];

  const render = () => {
    const [kind, , title, explanation] = saved ? [saved.isNew ? "new" : "known", "", ["This is ", nameOf(saved.name)], ""] : verdict(subject, rejected);
    const shown = subject.hits.filter((hit) => !rejected.includes(hit.identity));
    node.dataset.kind = kind;
    heading.replaceChildren(h("span", { class: "sign" }, number ? String(number) : icon(kind)), h("span", {}, ...title));
    node.replaceChildren(...[
      heading,
      saved || rejected.length ? null : scale(subject),
      explanation ? h("p", { class: "explanation" }, explanation) : null,
      problem ? errorLine(problem) : null,
      ...(saved ? savedPart() : []),
      !saved && writable ? h("div", { class: "buttons" }, ...choices(shown[0], kind).filter(Boolean)) : null,
      !saved && rejected.length ? h("div", { class: "buttons" }, button(["Take back “not ", nameOf(rejected[rejected.length - 1]), "”"], () => { rejected.pop(); render(); focusOn(heading); }, { class: "link" })) : null,
      shown.length && !saved ? h("h4", {}, "Most similar") : null,
      shown.length && !saved ? h("ul", { class: "hits" }, ...shown.map(hitTile)) : null,
    ].filter(Boolean));
  };
  render();
  const setNumber = (value) => { number = value; render(); };
  return { node, heading, subject, setNumber, said: verdict(subject, rejected)[1] };
};
