// Photos that wait for the service to be reachable again: kept in the browser, also when the page is closed.

const NAME = "lookalike", STORE = "waiting";

const open = () => new Promise((resolve, reject) => {
  const request = indexedDB.open(NAME, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE, { autoIncrement: true });
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

const inStore = async (mode, work) => {
  const database = await open();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, mode);
      const request = work(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
  } finally { database.close(); }
};

/** Keep photos of one question; the key to drop them with, or null if the browser cannot keep them. */
export const keep = async (files, encounter) => {
  try {
    const photos = await Promise.all(files.map(async (file) => ({ name: file.name, type: file.type, data: await file.arrayBuffer() })));
    return await inStore("readwrite", (store) => store.add({ photos, encounter }));
  } catch { return null; }
};

export const drop = async (key) => {
  if (key === null || key === undefined) return;
  try { await inStore("readwrite", (store) => store.delete(key)); } catch { /* was not kept */ }
};

/** Questions that were kept: [{key, files, encounter}]. */
export const kept = async () => {
  try {
    const keys = await inStore("readonly", (store) => store.getAllKeys());
    const values = await inStore("readonly", (store) => store.getAll());
    return keys.map((key, i) => ({ key, encounter: values[i].encounter, files: values[i].photos.map((photo) => new File([photo.data], photo.name, { type: photo.type })) }));
  } catch { return []; }
};
