// From selections to changes, and from changes to a patch file. Labels are always what all changes together
// make of the ones the page came with, so any change can be taken away again.
const MOST_APART = 20;
let changes = []; // { act: {do, rows, from, to}, author, note, at }
const dialog = element("ask");
let asking = null;

const remembered = (value) => {
  try {
    if (value !== undefined) localStorage.setItem("lookalike-author", value);
    return localStorage.getItem("lookalike-author") || "";
  } catch {
    return "";
  }
};

const box = (row) => (data.boxes ? data.boxes[row] : null);
// The lines of a change, made on the labels as they are; changes them.
const apply = ({ act, ...who }) => {
  const lines = [];
  const write = (line) => lines.push({ ...line, ...who });
  const named = (row, key, labelKey, boxKey) => ({ [key]: data.paths[row], [labelKey]: labelOf(row), ...(box(row) ? { [boxKey]: box(row) } : {}) });
  const rows = (act.rows || []).filter((row) => !state.dropped[row]);
  if (act.do === "relabel") {
    const code = codeOf(act.to);
    for (const row of rows) {
      if (state.labels[row] === code) continue;
      write({ do: "relabel", ...named(row, "path", "label", "box"), to: act.to });
      state.labels[row] = code;
    }
  } else if (act.do === "drop") {
    for (const row of rows) {
      write({ do: "drop", ...named(row, "path", "label", "box") });
      state.dropped[row] = 1;
      state.selected[row] = 0;
    }
  } else if (act.do === "merge") {
    const from = act.from.filter((name) => name !== act.to && rowsOf(codeOf(name)).length);
    if (from.length) write({ do: "merge", from, to: act.to });
    const code = codeOf(act.to);
    for (const name of from) for (const row of rowsOf(codeOf(name))) state.labels[row] = code;
  } else {
    rows.forEach((one, at) => {
      for (const other of rows.slice(at + 1)) {
        write({ do: "different", ...named(one, "path", "label", "box"), ...named(other, "other", "other_label", "other_box") });
      }
    });
  }
  return lines;
};
const replay = () => {
  state.names = data.columns[0].values.slice();
  state.labels = Uint32Array.from(data.columns[0].codes);
  state.dropped.fill(0);
  const lines = changes.map(apply);
  haystack = null;
  colour(colours.column);
  refresh();
  showSelection();
  showLegend();
  showChanges(lines);
  if (state.focus >= 0) showImage(state.dropped[state.focus] ? -1 : state.focus);
  return lines;
};
const patchText = (lines) => {
  const head = { lookalike_patch: 1, root: data.root, images: count };
  return [head, ...lines.flat()].map((line) => `${JSON.stringify(line)}\n`).join("");
};

const described = ({ act }, lines) => {
  const images = counted(lines.length, "image");
  if (act.do === "relabel") return `${images} → ${act.to}`;
  if (act.do === "drop") return `${images} dropped`;
  if (act.do === "merge") return `${act.from.filter((name) => name !== act.to).join(", ")} → ${act.to}, whole classes`;
  return counted(lines.length, "pair is different", "pairs are different");
};
const showChanges = (lines) => {
  element("changes").hidden = !changes.length;
  element("changes-title").textContent = counted(changes.length, "change");
  element("changes-list").replaceChildren(...changes.map((change, at) =>
    make("li", {},
      make("p", {}, described(change, lines[at]), make("small", {}, [change.author, change.note].filter(Boolean).join(": "))),
      make("button", { type: "button", "aria-label": `take back: ${described(change, lines[at])}`, onclick: () => { changes.splice(at, 1); replay(); say("taken back"); } }, "Undo"))));
};
const save = () => {
  const text = patchText(replay());
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "application/jsonl" })), download: `${data.file}-patch.jsonl` });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  say("patch saved");
};

const WORDS = {
  relabel: ["Relabel", (rows) => `${counted(rows.length, "image")} get another label. One that exists, or a new one.`],
  merge: ["Merge classes", (rows) => `All images of ${byClass(rows).map(([code]) => state.names[code]).slice(0, 8).join(", ")} become one class, those outside of the selection and of this map, too.`],
  drop: ["Drop", (rows) => `${counted(rows.length, "image")} will not be in the new table. The files stay.`],
  different: ["These are different", (rows) => `${counted((rows.length * (rows.length - 1)) / 2, "pair")} of images that show different things are kept in different.csv; labels stay.`],
};
const ask = (kind) => {
  const rows = selectedRows();
  if (!rows.length) return;
  asking = { kind, rows };
  element("ask-title").textContent = WORDS[kind][0];
  element("ask-text").textContent = visible(WORDS[kind][1](rows));
  const wants = kind === "relabel" || kind === "merge";
  element("ask-label").hidden = !wants;
  element("to").required = wants;
  element("to").value = kind === "merge" ? state.names[byClass(rows)[0][0]] : "";
  const near = byClass(rows.flatMap((row) => [row, ...neighboursOf(row).map(([other]) => other)])).map(([code]) => code);
  const names = [...new Set([...near, ...state.names.keys()])].slice(0, 2000).map((code) => state.names[code]);
  element("labels").replaceChildren(...names.map((name) => make("option", { value: name })));
  element("author").value = element("author").value || remembered();
  element("note").value = "";
  checkLabel();
  dialog.showModal();
  (wants ? element("to") : element("author").value ? element("note") : element("author")).focus();
};
const checkLabel = () => {
  const label = element("to").value.trim();
  const nothing = data.nothing.includes(label.toLowerCase());
  const blank = element("to").required && element("to").value && !label;
  element("to").setCustomValidity(nothing ? `“${label}” says that there is no label, and would be refused. Give another one.` : blank ? "Give a label." : "");
};
element("to").addEventListener("input", checkLabel);
element("ask-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const { kind, rows } = asking;
  const author = element("author").value.trim(), to = element("to").value.trim();
  if (!author || (element("to").required && !to)) return;
  remembered(author);
  const act = { do: kind, rows };
  if (kind === "relabel" || kind === "merge") act.to = to;
  if (kind === "merge") act.from = byClass(rows).map(([code]) => state.names[code]);
  changes.push({ act, author, note: element("note").value.trim(), at: new Date().toISOString() });
  dialog.close();
  replay();
  say(`${WORDS[kind][0]}: noted. Save the patch when you are done.`);
});
for (const kind of Object.keys(WORDS)) element(kind).addEventListener("click", () => ask(kind));
element("cancel").addEventListener("click", () => dialog.close());
element("clear").addEventListener("click", () => select([]));
element("save").addEventListener("click", save);
window.addEventListener("beforeunload", (event) => { if (changes.length) event.preventDefault(); });

// A patch that was saved before goes on here: lines of one act are put together again.
const reopened = (text) => {
  const lines = text.split("\n").filter((line) => line.trim()).map((line) => JSON.parse(line));
  if (!lines.length || lines[0].lookalike_patch !== 1) throw new Error("this is no patch");
  if (lines[0].root && lines[0].root !== data.root) throw new Error(`it is of another data set: its paths start in ${lines[0].root}, those of this map in ${data.root}`);
  const known = new Set(data.columns[0].values);
  const spot = (path, corners) => JSON.stringify([path, corners || null]);
  const rows = new Map(data.paths.map((path, row) => [spot(path, box(row)), row]));
  const found = [];
  let lost = 0, last = "";
  for (const [place, { do: kind, author, note, at, to, from, ...line }] of lines.slice(1).entries()) {
    if (!Object.hasOwn(WORDS, kind)) throw new Error(`change ${place + 1} is none of ${Object.keys(WORDS).join(", ")}`);
    const missing = kind === "merge" ? from.find((name) => !known.has(name)) : undefined;
    if (missing !== undefined) throw new Error(`change ${place + 1} merges ${missing}, which is no class on this map; apply the patch with lookalike prepare`);
    const here = kind === "merge" ? [] : [rows.get(spot(line.path, line.box))];
    if (kind === "different") here.push(rows.get(spot(line.other, line.other_box)));
    if (here.includes(undefined)) { lost++; continue; }
    if (to !== undefined) known.add(to);
    const who = { author, note: note || "", at };
    const key = kind === "relabel" || kind === "drop" ? JSON.stringify([kind, to, who]) : "";
    if (key && key === last) found[found.length - 1].act.rows.push(...here);
    else found.push({ act: { do: kind, rows: here, to, from }, ...who });
    last = key;
  }
  return [found, lost];
};
element("open").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  if (!file) return;
  try {
    const [found, lost] = reopened(await file.text());
    changes = [...changes, ...found];
    replay();
    say(`${counted(found.length, "change")} read${lost ? `; ${counted(lost, "line")} left out: no such image on this map` : ""}`);
  } catch (error) {
    say(`${file.name} cannot be opened: ${error.message}`);
  }
  event.target.value = "";
});
