const element = (id) => document.getElementById(id);
const decode = (text) => new TextDecoder().decode(Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0)));
const data = JSON.parse(decode(element("data").textContent));
const KINDS = {
  near_duplicate: ["Same photo", "different photos"],
  burst: ["Same burst", "different scenes"],
  duplicate_identity: ["Same identity", "different identities"],
  wrong_label: ["Wrong label", "the label is right"],
  leak: ["Leak between splits", "no leak"],
  quality: ["Image quality", "keep the image"],
  possible_merge: ["Same individual", "different individuals"],
  cluster: ["Group", "the first two are different"],
};
const STORE = `lookalike-review-${data.id}`;
const visible = (text) => String(text).replace(/[\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
const make = (tag, values = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), values);
  made.append(...children.map((child) => (typeof child === "string" ? visible(child) : child)));
  return made;
};

let decisions = {}; // item -> { answer, at }
let history = []; // { item, before }, oldest first
let kind = null; // kind that is shown; null for all
let current = 0; // item that is shown

const store = () => {
  try {
    localStorage.setItem(STORE, JSON.stringify({ decisions, history, kind, current, author: element("author").value }));
  } catch {
    say("This browser does not keep decisions: save the patch before you close the page.");
  }
};
const restore = () => {
  try {
    const saved = JSON.parse(localStorage.getItem(STORE) || "null");
    if (saved) ({ decisions, history, kind, current } = saved);
    element("author").value = (saved && saved.author) || localStorage.getItem("lookalike-author") || "";
  } catch { /* a browser without storage starts anew */ }
  if (!data.items[current]) current = 0;
};
const say = (text) => { element("said").textContent = visible(text); };
const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
const shownItems = () => data.items.map((_, number) => number).filter((number) => !kind || data.items[number].kind === kind);

// What accepting an item changes.
const changesOf = (item) => {
  const dropped = new Map(), relabelled = new Map(), merged = new Map();
  item.changes.forEach((change, number) => {
    const [a, b] = item.pairs[number];
    if (change[0] === "drop") dropped.set(change[1] === "a" ? a : b, true);
    if (change[0] === "relabel" || change[0] === "split") relabelled.set(a, change[1]);
    if (change[0] === "merge") for (const label of change.slice(1)) merged.set(label, (merged.get(label) || 0) + 1);
  });
  return { dropped: [...dropped.keys()], relabelled: [...relabelled], merged: mergeOf(item, merged) };
};
// A group becomes the label into which most of its pairs merge.
const mergeOf = (item, merged) => {
  if (!merged.size) return null;
  const into = new Map();
  for (const change of item.changes) if (change[0] === "merge") into.set(change[2], (into.get(change[2]) || 0) + 1);
  const to = [...into].sort((one, other) => other[1] - one[1])[0][0];
  return { from: [...merged.keys()].filter((label) => label !== to), to };
};
const acceptText = (item) => {
  const { dropped, relabelled, merged } = changesOf(item);
  if (merged) return `merge into ${merged.to}`;
  if (relabelled.length > 1) return `move ${counted(relabelled.length, "image")} to ${relabelled[0][1]}`;
  if (relabelled.length) return `relabel as ${relabelled[0][1]}`;
  if (item.kind === "cluster") return "one individual";
  return dropped.length ? `drop ${counted(dropped.length, "image")}` : "no change";
};

const card = (item, row) => {
  const image = data.images[row];
  const { dropped, relabelled } = changesOf(item);
  const picture = image.picture
    ? make("img", { src: image.picture, alt: visible(`${image.label}, ${image.path}`), loading: "lazy" })
    : make("span", {}, "not shown");
  const fate = dropped.includes(row) ? "would be dropped" : relabelled.some(([one]) => one === row) ? `would become ${relabelled[0][1]}` : "";
  return make("li", {},
    make("div", { className: "picture" }, picture),
    make("div", { className: "text" }, make("b", {}, image.label), make("span", {}, image.path), make("br"),
      make("span", {}, image.split || ""), make("div", { className: "fate" }, fate)));
};

const show = (focus = true) => {
  const numbers = shownItems(), item = data.items[current];
  const none = !numbers.length;
  element("finding").hidden = none;
  element("empty").hidden = !none;
  for (const id of ["accept", "reject", "skip", "previous", "next"]) element(id).disabled = none;
  element("undo").disabled = !history.length;
  drawKinds();
  const reviewed = numbers.filter((number) => decisions[number]).length;
  element("progress").max = Math.max(1, numbers.length);
  element("progress").value = reviewed;
  if (none) return;
  const decision = decisions[current];
  element("heading").replaceChildren(
    `${KINDS[item.kind][0]} · ${numbers.indexOf(current) + 1} of ${numbers.length.toLocaleString("en")} · score ${item.score.toFixed(2)} `,
    ...(decision ? [make("span", { className: `badge ${decision.answer}` }, `${decision.answer}ed`.replace("skiped", "skipped"))] : []));
  const evidence = [...new Set(item.evidence)];
  element("evidence").textContent = visible(evidence.slice(0, 4).join("\n") + (evidence.length > 4 ? `\nand ${counted(evidence.length - 4, "more remark")}` : ""));
  const shown = item.rows.slice(0, 12);
  element("cards").replaceChildren(...shown.map((row) => card(item, row)));
  element("more").textContent = item.rows.length > shown.length ? `and ${counted(item.rows.length - shown.length, "more image")} in this group` : "";
  element("accept").replaceChildren(`Accept: ${visible(acceptText(item))} `, make("kbd", {}, "A"));
  element("reject").replaceChildren(`Reject: ${KINDS[item.kind][1]} `, make("kbd", {}, "R"));
  if (focus) element("finding").focus({ preventScroll: true });
};

const drawKinds = () => {
  const present = Object.keys(KINDS).filter((name) => data.items.some((item) => item.kind === name));
  const button = (name, text) => {
    const numbers = data.items.map((item, number) => [item, number]).filter(([item]) => !name || item.kind === name);
    const left = numbers.filter(([, number]) => !decisions[number]).length;
    const made = make("button", { type: "button" }, `${text} ${left.toLocaleString("en")}`);
    made.setAttribute("aria-pressed", String(kind === name));
    made.addEventListener("click", () => {
      kind = name;
      const numbers = shownItems();
      current = numbers.find((number) => !decisions[number]) ?? numbers[0] ?? 0;
      store();
      show();
    });
    return made;
  };
  element("kinds").replaceChildren(button(null, "All"), ...present.map((name) => button(name, KINDS[name][0])));
};

const move = (step) => {
  const numbers = shownItems();
  const at = numbers.indexOf(current) + step;
  if (at < 0 || at >= numbers.length) return;
  current = numbers[at];
  store();
  show();
};
const decide = (answer) => {
  const numbers = shownItems();
  if (!numbers.length) return;
  history.push({ item: current, before: decisions[current] || null });
  decisions[current] = { answer, at: new Date().toISOString() };
  const at = numbers.indexOf(current);
  const open = [...numbers.slice(at + 1), ...numbers.slice(0, at)].find((number) => !decisions[number]);
  if (open !== undefined) current = open;
  store();
  show();
  say(open === undefined ? "All of these findings are reviewed. Save the patch." : "");
};
const undo = () => {
  const last = history.pop();
  if (!last) return say("Nothing to undo.");
  if (last.before) decisions[last.item] = last.before;
  else delete decisions[last.item];
  current = last.item;
  if (kind && data.items[current].kind !== kind) kind = null;
  store();
  show();
  return say("Undone.");
};

// The lines of the patch: what is kept and different first, since it is about the images as they are now.
const lines = (author) => {
  const kept = [], drops = [], relabels = [], merges = [];
  const seen = new Set(), gone = new Set();
  const add = (list, line, key) => { if (!seen.has(key)) { seen.add(key); list.push(line); } };
  const name = (row) => { const { path, label, box } = data.images[row]; return { path, label, ...(box ? { box } : {}) }; };
  const other = (row) => { const { path, label, box } = data.images[row]; return { other: path, other_label: label, ...(box ? { other_box: box } : {}) }; };
  for (const [number, { answer, at }] of Object.entries(decisions)) {
    const item = data.items[number], who = { author, note: item.kind, at };
    if (answer === "reject") {
      for (const [index, [a, b]] of item.pairs.entries()) {
        if (b === null || item.changes[index][0] === "split") add(kept, { do: "keep", ...name(a), kind: item.kind, ...who }, `keep ${a} ${item.kind}`);
        else add(kept, { do: "different", ...name(a), ...other(b), kind: item.kind, ...who }, `different ${a} ${b} ${item.kind}`);
      }
    } else if (answer === "accept") {
      const { dropped, relabelled, merged } = changesOf(item);
      for (const row of dropped) { gone.add(row); add(drops, { do: "drop", ...name(row), ...who }, `drop ${row}`); }
      for (const [row, to] of relabelled) add(relabels, [row, { do: "relabel", ...name(row), to, ...who }], `relabel ${row}`);
      if (merged && merged.from.length) merges.push({ do: "merge", from: merged.from, to: merged.to, ...who });
    }
  }
  return [...kept, ...drops, ...relabels.filter(([row]) => !gone.has(row)).map(([, line]) => line), ...merges];
};
const save = () => {
  const author = element("author").value.trim();
  element("author").classList.toggle("missing", !author);
  if (!author) { element("author").focus(); return say("Give your name: each change notes who made it."); }
  const changes = lines(author);
  if (!changes.length) return say("Nothing is accepted or rejected yet.");
  const head = { lookalike_patch: data.version, root: data.root, images: data.count };
  const text = [head, ...changes].map((line) => JSON.stringify(line)).join("\n") + "\n";
  const link = make("a", { href: "#", download: "review.jsonl" });
  link.href = URL.createObjectURL(new Blob([text], { type: "application/x-ndjson" }));
  document.body.append(link);
  link.click();
  link.remove();
  return say(`${counted(changes.length, "change")} saved as review.jsonl.`);
};

const ACTIONS = { a: () => decide("accept"), r: () => decide("reject"), s: () => decide("skip"), u: undo, ArrowLeft: () => move(-1), ArrowRight: () => move(1) };
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input") || event.altKey) return;
  const undoing = (event.ctrlKey || event.metaKey) && event.key === "z";
  const act = undoing ? undo : event.ctrlKey || event.metaKey ? null : ACTIONS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
for (const answer of ["accept", "reject", "skip"]) element(answer).addEventListener("click", () => decide(answer));
element("undo").addEventListener("click", undo);
element("previous").addEventListener("click", () => move(-1));
element("next").addEventListener("click", () => move(1));
element("save").addEventListener("click", save);
element("author").addEventListener("change", () => {
  try { localStorage.setItem("lookalike-author", element("author").value); } catch { /* not kept */ }
  store();
});
restore();
show(false);
