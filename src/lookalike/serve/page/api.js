// Requests to the service: the token, errors as plain sentences, pictures.

import { askText, h } from "./dom.js";

const KEY = "lookalike-token";

/** The service answered with an error. */
export class ServiceError extends Error {
  constructor(message, status) { super(message); this.status = status; }
}
/** The service cannot be reached. */
export class Unreachable extends Error {
  constructor() { super("The service cannot be reached. Check the connection, then try again."); }
}

const listeners = new Set();
let reachable = true;
export const isReachable = () => reachable;
export const onReachable = (listener) => listeners.add(listener);
const setReachable = (value) => {
  if (value === reachable) return;
  reachable = value;
  for (const listener of listeners) listener(value);
};

let memory = "";
export const token = () => { try { return sessionStorage.getItem(KEY) ?? memory; } catch { return memory; } };
export const setToken = (value) => {
  memory = value;
  try { if (value) sessionStorage.setItem(KEY, value); else sessionStorage.removeItem(KEY); } catch { /* kept in memory */ }
  document.dispatchEvent(new Event("token"));
};

/** A path of the service; relative, so that it may be served below a folder. */
export const address = (path) => new URL(path, document.baseURI).href;
export const identityPath = (name, rest = "") => `identities/${encodeURIComponent(name)}${rest}`;

let asking = null;
/** Ask for the token; resolves to whether one was given. */
export const askToken = (why) => {
  asking ??= askText("Token", "Token of this service", {
    type: "password", autocomplete: "current-password", maxlength: 4096, yes: "Use it",
    text: why, hint: "Whoever runs the service has it. It is kept until this tab is closed.",
  }).then((value) => { asking = null; if (value) setToken(value); return Boolean(value); });
  return asking;
};

const messageOf = async (response) => {
  const body = await response.json().catch(() => null);
  const error = body?.error?.message ?? body?.error ?? body?.detail;
  return typeof error === "string" && error ? error : `The service answered with the error ${response.status}.`;
};

const send = async (method, path, body, signal) => {
  const headers = { Accept: "application/json" };
  if (token()) headers.Authorization = `Bearer ${token()}`;
  if (body && !(body instanceof FormData)) headers["Content-Type"] = "application/json";
  const data = body && !(body instanceof FormData) ? JSON.stringify(body) : body;
  let response;
  try { response = await fetch(address(path), { method, headers, body: data, signal, credentials: "same-origin" }); }
  catch (error) { if (error.name === "AbortError") throw error; setReachable(false); throw new Unreachable(); }
  setReachable(true);
  return response;
};

const AUTHOR = "lookalike-author";
/** Who decides, for the history; kept on this device. */
export const author = () => { try { return localStorage.getItem(AUTHOR) ?? ""; } catch { return ""; } };
export const setAuthor = (name) => { try { localStorage.setItem(AUTHOR, name); } catch { /* asked again next time */ } };

/** A decision, with the name of who makes it. */
export const decide = (path, body) => request("POST", path, author() ? { ...body, author: author() } : body);

/** The answer as JSON. Asks for the token where the service wants one. */
export const request = async (method, path, body = undefined, signal = undefined) => {
  let response = await send(method, path, body, signal);
  while (response.status === 401) {
    const message = await messageOf(response);
    if (!(await askToken(token() ? "The token was refused; please enter it again." : message))) throw new ServiceError("This needs the token of the service.", 401);
    response = await send(method, path, body, signal);
  }
  if (!response.ok) throw new ServiceError(await messageOf(response), response.status);
  return response.json();
};

/** The picture of an enrolled photo. Where reading needs the token, it is fetched with it. */
export const picture = (id, alt, size = 256) => {
  if (!id) return h("span", { class: "missing" }, "No picture");
  const path = address(`pictures/${encodeURIComponent(id)}?size=${size}`);
  const image = h("img", { alt, loading: "lazy", decoding: "async", draggable: "false" });
  const missing = () => {
    if (image.parentNode) image.replaceWith(h("span", { class: "missing", role: alt ? "img" : null, "aria-label": alt || null }, "No picture"));
  };
  const fetched = async () => {
    if (!token()) return missing();
    try {
      const response = await send("GET", path, undefined, undefined);
      if (!response.ok) return missing();
      const url = URL.createObjectURL(await response.blob());
      image.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
      image.addEventListener("error", missing, { once: true });
      image.src = url;
    } catch { missing(); }
    return undefined;
  };
  image.addEventListener("error", fetched, { once: true });
  image.src = path;
  return image;
};

/** Whether this person can change the index, maybe after giving the token. */
export const mayWrite = () => Boolean(info && info.writable && (info.may_write || info.token_needed));

/** What the service is and allows; the newest answer, or null before the first. */
export let info = null;
export const loadInfo = async () => {
  info = await request("GET", "info");
  document.dispatchEvent(new Event("info"));
  return info;
};
/** Look again whether the service answers. */
export const ping = async () => {
  try { const response = await send("GET", "health"); return response.ok; } catch { return false; }
};
