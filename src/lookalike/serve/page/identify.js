// The first view: photos come in, are asked about, and each gets a card with the answers.

import { askToken, info, isReachable, loadInfo, mayWrite, onReachable, ping, request, token, Unreachable } from "./api.js";
import { announce, button, byId, count, errorLine, focusOn, h, icon, nameOf } from "./dom.js";
import { markOne } from "./marking.js";
import { filesOf, fit, prefersNativeCamera, takePhotos } from "./photos.js";
import { subjectCard } from "./subject.js";
import { drop, keep, kept } from "./waiting.js";
import { promise } from "./words.js";

const AT_A_TIME = 3;
let ready = null;
const cards = [];
let running = 0;
const line = [];

/** Run at most a few requests at once, so that the first photos are answered first. */
const inLine = (work) => new Promise((resolve, reject) => {
  line.push(async () => { try { resolve(await work()); } catch (error) { reject(error); } });
  next();
});
const next = () => {
  if (running >= AT_A_TIME || !line.length) return;
  running += 1;
  line.shift()().finally(() => { running -= 1; next(); });
};

/** What the page needs of an entry of the answer. */
const subjectOf = (entry, index) => ({
  index, box: entry.box, photo: [entry.photo].flat()[0] ?? 0, width: entry.width, height: entry.height,
  point: typeof entry.threshold === "number" && entry.answer ? entry : null,
  uploads: [entry.upload].flat().filter(Boolean),
  answer: entry.answer ?? null, identity: entry.identity ?? null, similarity: entry.score ?? entry.hits[0]?.score ?? 0, words: entry.words ?? entry.hits[0]?.words ?? "",
  hits: entry.hits.map((hit) => ({ identity: String(hit.label), similarity: hit.score, words: hit.words, id: hit.id ?? null, likely: Boolean(hit.likely) })),
});

class Question {
  constructor(files, encounter, key = null) {
    Object.assign(this, { files, encounter, key, notes: [], made: [], urls: files.map((file) => URL.createObjectURL(file)) });
    this.title = files.length > 1 ? `${files.length} photos of the same one` : files[0].name || "Photo";
    this.answers = h("div", { class: "answers" });
    this.shots = this.urls.map((url, i) => this.shot(url, files[i]));
    this.tools = h("div", { class: "marking-tools" });
    this.heading = h("h2", { class: "hidden", tabindex: "-1" }, this.title);
    this.node = h("article", { class: files.length > 1 ? "card several" : "card", "aria-label": this.title },
      this.heading,
      h("div", { class: "shots" }, ...this.shots, h("p", { class: "file" }, files.length > 1 ? this.title : nameOf(this.title)), this.tools),
      this.answers,
      h("button", { type: "button", class: "icon close", "aria-label": `Remove ${this.title} from this page`, onclick: () => this.remove() }, icon("close")));
  }

  shot(url, file) {
    const image = h("img", { src: url, alt: `Your photo ${file.name}`, decoding: "async" });
    image.addEventListener("error", () => image.replaceWith(h("span", { class: "missing" }, "This browser cannot show this file")), { once: true });
    return h("div", { class: "shot" }, image);
  }

  /** The picture of a subject, cut out of the photo. */
  crop(subject) {
    const image = this.shots[subject.photo]?.querySelector("img");
    if (!image?.naturalWidth) return h("span", { class: "missing" }, "No picture");
    const [x1, y1, x2, y2] = subject.box ?? [0, 0, subject.width ?? image.naturalWidth, subject.height ?? image.naturalHeight];
    const ratio = image.naturalWidth / (subject.width ?? image.naturalWidth);
    const [wide, high] = [(x2 - x1) * ratio, (y2 - y1) * ratio], scale = Math.min(1, 800 / Math.max(wide, high));
    const canvas = h("canvas", { role: "img", "aria-label": "Your photo", width: Math.max(1, Math.round(wide * scale)), height: Math.max(1, Math.round(high * scale)) });
    canvas.getContext("2d").drawImage(image, x1 * ratio, y1 * ratio, wide, high, 0, 0, canvas.width, canvas.height);
    return canvas;
  }

  /** Ask the service; a photo that is too large for it is sent smaller. */
  async send(box = null) {
    try { return await this.sendFitted(box, false); }
    catch (error) { if (error.status !== 413) throw error; return this.sendFitted(box, true); }
  }

  async sendFitted(box, smaller) {
    const form = new FormData();
    this.notes = [];
    for (const file of this.files) {
      const fitted = await fit(file, info?.max_bytes, smaller ? info?.max_pixels : 0);
      this.scale = fitted.scale ?? 1;
      if (fitted.note) this.notes.push(fitted.note);
      form.append("image", fitted.file, fitted.file.name || "photo.jpg");
    }
    if (this.encounter) form.append("encounter", "true");
    if (box) form.append("box", box.join(","));
    if (mayWrite() && info.may_write !== false) form.append("keep", "true");
    if (info && !info.fpir && info.images > 0) form.append("by", "label");
    return request("POST", info && !info.fpir && info.images > 0 ? "search" : "identify", form);
  }

  /** The ids under which the service keeps a subject; asked for anew where there are none, or they have expired. */
  async uploads(subject, again) {
    if (subject.uploads.length && !again) return subject.uploads;
    let why = token() ? "The token was refused; please enter it again." : "Saving needs the token of this service.";
    while (!(await loadInfo()).may_write) {
      if (!info.token_needed || !(await askToken(why))) throw new Error("Nothing was saved: this needs the token of the service.");
      why = "The token was refused; please enter it again.";
    }
    const entries = (await this.send(subject.marked)).filter((entry) => !entry.error);
    subject.uploads = subjectOf(entries[subject.index], subject.index).uploads;
    return subject.uploads;
  }

  async ask() {
    this.state("busy", h("p", { class: "busy" }, h("span", { class: "spinner", "aria-hidden": "true" }), "Looking it up…"));
    try {
      await ready;
      const entries = await inLine(() => this.send());
      await drop(this.key);
      this.key = null;
      this.show(entries);
    } catch (error) {
      if (error instanceof Unreachable) return this.wait();
      await drop(this.key);
      this.key = null;
      this.state("failed", errorLine(error.message), h("div", { class: "buttons" }, button("Try again", () => this.ask()), button("Remove", () => this.remove())));
      this.offerMarking();
    }
    return undefined;
  }

  state(name, ...children) {
    this.status = name;
    this.node.dataset.state = name;
    this.answers.replaceChildren(...children);
    update();
  }

  async wait() {
    this.key ??= await keep(this.files, this.encounter);
    const text = this.key === null
      ? "No connection to the service. Leave this page open: the photo is looked up as soon as the service is back."
      : "No connection to the service. The photo is kept on this device and looked up as soon as the service is back, also if you close this page.";
    this.state("waiting", h("p", { class: "warning" }, icon("warning"), h("span", {}, text)), h("div", { class: "buttons" }, button("Try now", () => this.ask()), button("Remove", () => this.remove())));
    announce(text);
  }

  show(entries) {
    const errors = entries.filter((entry) => entry.error), subjects = entries.filter((entry) => !entry.error).map(subjectOf);
    this.made = [];
    this.list = h("div", { class: "subjects" });
    this.counted = h("p", { class: "note", hidden: true });
    for (const subject of subjects) this.addSubject(subject);
    this.state("answered", this.counted, this.list,
      ...errors.map((entry) => errorLine(this.files.length > 1 ? `${entry.image}: ${entry.error.message}` : entry.error.message)),
      subjects.length ? h("p", { class: "note" }, promise(subjects[0].point)) : "",
      ...this.notes.map((text) => h("p", { class: "note" }, text)));
    announce(`${this.title}: ${this.made.map((each) => each.said).join("; ")}`);
    this.offerMarking();
  }

  addSubject(subject) {
    const card = subjectCard(subject, { crop: () => this.crop(subject), uploads: (each, again) => this.uploads(each, again) });
    this.made.push(card);
    this.list.append(card.node);
    if (subject.box) card.frame = this.frame(subject, card);
    if (this.made.length < 2) return card;
    this.made.forEach((each, i) => { each.setNumber(i + 1); if (each.frame) each.frame.replaceChildren(h("span", {}, String(i + 1))); });
    this.counted.textContent = `${count(this.made.length, "individual")} on this photo, numbered as in the frames.`;
    this.counted.hidden = false;
    return card;
  }

  /** A button to draw a frame around somebody that was not found, or is not alone on the photo. */
  offerMarking() {
    if (this.files.length > 1 || !this.shots[0].querySelector("img")) return;
    const offer = button("Mark one by hand", () => this.mark(), { class: "link" });
    this.tools.replaceChildren(offer);
  }

  async mark() {
    const image = this.shots[0].querySelector("img"), shares = await markOne(this.shots[0], this.tools);
    if (shares) {
      const { width, height } = this.made[0]?.subject ?? { width: image.naturalWidth * this.scale, height: image.naturalHeight * this.scale };
      const box = shares.map((share, i) => Math.round(share * (i % 2 ? height : width)));
      this.tools.replaceChildren(h("p", { class: "busy" }, h("span", { class: "spinner", "aria-hidden": "true" }), "Looking it up…"));
      try {
        const [entry] = await this.send(box);
        if (entry.error) throw new Error(entry.error.message);
        if (this.status !== "answered") this.show([]);
        const card = this.addSubject({ ...subjectOf(entry, 0), marked: box });
        announce(card.said);
        this.offerMarking();
        return focusOn(card.heading);
      } catch (error) {
        this.offerMarking();
        this.tools.append(errorLine(error.message));
      }
    } else this.offerMarking();
    return this.tools.querySelector("button")?.focus();
  }

  /** A frame around a subject on the photo; it leads to its answer, and shows when that is looked at. */
  frame(subject, card) {
    const { width, height } = subject, within = (value, most) => Math.min(most, Math.max(0, value));
    const [x1, y1, x2, y2] = subject.box.map((value, i) => within(value, i % 2 ? height : width));
    const frame = h("button", { type: "button", class: "frame", "aria-label": `Go to the answer: ${card.said}`, onclick: () => focusOn(card.heading) });
    frame.dataset.kind = card.node.dataset.kind;
    const place = { left: x1 / width, top: y1 / height, width: (x2 - x1) / width, height: (y2 - y1) / height };
    for (const [side, share] of Object.entries(place)) frame.style[side] = `${100 * share}%`;
    for (const [kind, on] of [["pointerenter", true], ["focusin", true], ["pointerleave", false], ["focusout", false]]) {
      card.node.addEventListener(kind, () => frame.classList.toggle("lit", on));
      frame.addEventListener(kind, () => card.node.classList.toggle("lit", on));
    }
    new MutationObserver(() => { frame.dataset.kind = card.node.dataset.kind; }).observe(card.node, { attributes: true, attributeFilter: ["data-kind"] });
    this.shots[subject.photo]?.append(frame);
    return frame;
  }

  remove() {
    drop(this.key);
    this.urls.forEach((url) => URL.revokeObjectURL(url));
    cards.splice(cards.indexOf(this), 1);
    this.node.remove();
    update();
    focusOn(cards[0]?.heading ?? byId("take"));
  }
}

/** The page with or without photos. */
const update = () => {
  byId("view-identify").classList.toggle("has-photos", cards.length > 0);
  byId("photos").setAttribute("aria-busy", String(cards.some((card) => card.status === "busy")));
};

const add = (files, encounter, key = null) => {
  const card = new Question(files, encounter, key);
  cards.unshift(card);
  byId("photos").prepend(card.node);
  card.ask();
  return card;
};

/** Ask about photos; with the switch on, all of them are of one individual. */
export const askAbout = (files) => {
  if (!files.length) return;
  location.hash = "#identify";
  const together = byId("encounter").checked && files.length > 1;
  const made = together ? [add(files, true)] : [...files].reverse().map((file) => add([file], false));
  announce(`Looking up ${count(files.length, "photo")}.`);
  made[made.length - 1].node.scrollIntoView({ block: "nearest" });
};

/** Connect buttons, the clipboard, dropping, and photos that were kept for later; `loading` is when `info` is known. */
export const startIdentify = async (loading) => {
  ready = loading;
  for (const id of ["files", "capture"]) byId(id).addEventListener("change", (event) => {
    const files = filesOf(event.target);
    event.target.value = "";  // so that the same photo can be chosen again
    askAbout(files);
  });
  byId("choose").addEventListener("click", () => byId("files").click());
  byId("take").addEventListener("click", async () => {
    if (prefersNativeCamera()) return byId("capture").click();
    const taken = await takePhotos();
    return taken === "choose" ? byId("files").click() : askAbout(taken);
  });
  document.addEventListener("paste", (event) => {
    const files = filesOf(event.clipboardData);
    if (!files.length || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    askAbout(files);
  });
  let depth = 0;
  const veil = byId("drop-veil"), carries = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  document.addEventListener("dragenter", (event) => { if (carries(event)) { depth += 1; veil.hidden = false; } });
  document.addEventListener("dragleave", (event) => { if (carries(event)) { depth -= 1; veil.hidden = depth > 0 ? veil.hidden : true; } });
  document.addEventListener("dragover", (event) => { if (carries(event)) event.preventDefault(); });
  document.addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    depth = 0;
    veil.hidden = true;
    if (!document.querySelector("dialog[open]")) askAbout(filesOf(event.dataTransfer));
  });
  onReachable((value) => { if (value) for (const card of cards) if (card.status === "waiting") card.ask(); });
  addEventListener("online", ping);
  setInterval(() => { if (!isReachable()) ping(); }, 5000);
  for (const each of await kept()) add(each.files, each.encounter, each.key);
};
