// Start of the page: views, notices, and the service worker.

import { address, askToken, info, isReachable, loadInfo, mayWrite, onReachable, request, setToken, token } from "./api.js";
import { announce, button, byId, clearOldToast, count, errorLine, h, icon } from "./dom.js";
import { showHistory } from "./history.js";
import { startIdentify } from "./identify.js";
import { addSomebody, showIdentities, tile } from "./identities.js";
import { showIdentity } from "./identity.js";
import { promise } from "./words.js";

const VIEWS = { identify: ["Who is this?"], identities: ["Identities", showIdentities], identity: ["Identity", showIdentity], history: ["History", showHistory] };
let shown = null;

const route = async () => {
  const [name, ...rest] = location.hash.slice(1).split("/");
  const view = VIEWS[name] ? name : "identify";
  let parameter = rest.join("/");
  try { parameter = decodeURIComponent(parameter); } catch { /* as it is */ }
  const place = byId(`view-${view}`), first = shown === null;
  if (view === "identify" && shown === "identify") return;
  clearOldToast();
  shown = view;
  for (const each of Object.keys(VIEWS)) byId(`view-${each}`).hidden = each !== view;
  for (const each of document.querySelectorAll("nav a")) {
    const current = each.dataset.view === view || (view === "identity" && each.dataset.view === "identities");
    if (current) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
  const [title, show] = VIEWS[view];
  document.title = `${view === "identity" ? parameter : title} · Lookalike`;
  if (show) {
    if (!place.firstChild) place.replaceChildren(h("p", { class: "busy" }, h("span", { class: "spinner", "aria-hidden": "true" }), "Loading…"));
    await show(place, parameter);
  }
  if (!first && shown === view && !document.querySelector("dialog[open]")) {
    scrollTo(0, 0);
    place.querySelector("h1")?.focus({ preventScroll: true });
  }
};

const notice = (kind, ...children) => h("p", { class: `notice ${kind}` }, ...children);

const notices = () => {
  const lines = [];
  if (!isReachable()) lines.push(notice("bad", icon("warning"), h("span", {}, "No connection to the service. You can go on taking photos: they wait until it is back.")));
  if (info && !info.writable) lines.push(notice("", icon("key"), h("span", {}, "This index can be looked up but not changed. One made with engine=sqlite can.")));
  else if (info && !mayWrite()) lines.push(notice("", icon("key"), h("span", {}, "From this device you can look up but not change anything: the service has no token and so takes changes only from its own computer.")));
  else if (info?.token_needed && !token()) lines.push(notice("", icon("key"), h("span", {}, "You can look up. To save anything, the service wants its token."), button("Enter the token", () => askToken("Saving needs the token of this service."))));
  byId("notices").replaceChildren(...lines);
};

const facts = () => {
  byId("index-name").textContent = info.index;
  byId("index-size").textContent = `${count(info.identities, "identity", "identities")} · ${count(info.images, "photo")}`;
  byId("token").hidden = !(info.token_needed || token());
  byId("token").querySelector("span").textContent = token() ? "Forget the token" : "Token";
  byId("promise").textContent = info.images ? promise(info.fpir) : "";
  byId("first-steps").replaceChildren(...(info.images ? [] : [h("section", { class: "empty" },
    h("h2", {}, "Nobody is enrolled yet"),
    h("p", {}, mayWrite() ? "Add photos of the first one, or look up a photo and save it as a new one." : "The index is empty, so nobody can be recognised."),
    mayWrite() ? h("div", { class: "buttons" }, button("Add somebody", addSomebody, { class: "main" })) : "")]));
};

/** Some of those who are known, below the buttons: this is what photos are compared with. */
const known = async () => {
  if (!info?.images || byId("view-identify").classList.contains("has-photos")) return;
  try {
    const { identities, total } = await request("GET", "identities?limit=12");
    const all = total > identities.length ? [h("li", { class: "all" }, h("a", { href: "#identities" }, `All ${total.toLocaleString("en")}`))] : [];
    byId("known").querySelector("ul").replaceChildren(...identities.map(tile), ...all);
    byId("known").hidden = !identities.length;
  } catch { /* only a decoration */ }
};

const refresh = async () => {
  try { await loadInfo(); }
  catch (error) {
    if (!isReachable()) return;
    const enter = error.status === 401 ? [h("div", { class: "buttons notice" }, button("Enter the token", () => askToken("Looking up needs the token of this service, too.")))] : [];
    byId("notices").replaceChildren(errorLine(error.message), ...enter);
  }
};

document.addEventListener("info", () => { facts(); notices(); });
document.addEventListener("changed", refresh);
document.addEventListener("token", async () => {
  await refresh();
  if (shown !== "identify") route();
});
onReachable((value) => {
  notices();
  announce(value ? "The service is back." : "No connection to the service.");
  if (value) refresh();
});
byId("token").addEventListener("click", async () => {
  if (!token()) return askToken("Saving needs the token of this service.");
  setToken("");
  return announce("The token is forgotten.");
});
addEventListener("hashchange", route);

const ready = refresh();
startIdentify(ready);
await ready;
await route();
document.body.dataset.ready = "";
known();
if ("serviceWorker" in navigator) navigator.serviceWorker.register(address("sw.js")).catch(() => { /* the page works without, but not offline */ });
