// Keeps the page in the browser, so that it opens without a connection. Answers of the service are never kept.

const CACHE = "lookalike-page";
const FILES = [
  "./", "page/api.js", "page/app.js", "page/dom.js", "page/history.js", "page/icon.svg", "page/identify.js", "page/identities.js", "page/identity.js",
  "page/manifest.webmanifest", "page/marking.js", "page/names.js", "page/photos.js", "page/style.css", "page/subject.js", "page/waiting.js", "page/words.js",
];
const own = new Set(FILES.map((file) => new URL(file, self.registration.scope).href));

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES.map((file) => new Request(new URL(file, self.registration.scope), { cache: "reload" })))).then(() => self.skipWaiting()));
});
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

/** The newest version of a file of the page, or the kept one without a connection. */
const newest = async (request) => {
  const cache = await caches.open(CACHE);
  try {
    const response = await fetch(request);
    if (response.ok) await cache.put(request.url.split(/[?#]/)[0], response.clone());
    return response;
  } catch (error) {
    const kept = await cache.match(request.url.split(/[?#]/)[0]);
    if (kept) return kept;
    throw error;
  }
};

self.addEventListener("fetch", (event) => {
  const address = event.request.url.split(/[?#]/)[0];
  if (event.request.method === "GET" && own.has(address)) event.respondWith(newest(event.request));
});
