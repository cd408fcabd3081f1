// Photos on their way to the service: from files, the clipboard and the camera; made smaller only where it must be.

import { button, focusOn, h, openDialog } from "./dom.js";

/** Longest side in pixels of a smaller copy; phones cannot draw much larger ones. */
const LONGEST = 4096;

const megabytes = (bytes) => `${(bytes / 1e6).toLocaleString("en", { maximumFractionDigits: 1 })} MB`;

const decode = (file) => createImageBitmap(file, { imageOrientation: "from-image" });

const encode = (bitmap, scale, quality) => new Promise((resolve) => {
  const canvas = h("canvas", { width: Math.max(1, Math.round(bitmap.width * scale)), height: Math.max(1, Math.round(bitmap.height * scale)) });
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  canvas.toBlob(resolve, "image/jpeg", quality);
});

/**
 * The photo as it is sent: itself, or a smaller copy if it has more bytes than the service accepts or, with `maxPixels`,
 * more pixels. Returns {file, note, scale}; `note` says what was done. What the browser cannot read is sent as it is.
 */
export const fit = async (file, maxBytes, maxPixels = 0) => {
  const same = { file, note: "", scale: 1 };
  if (!maxPixels && (!maxBytes || file.size <= maxBytes)) return same;
  let bitmap;
  try { bitmap = await decode(file); } catch { return same; }
  const name = `${file.name.replace(/\.[^.]*$/, "")}.jpg`;
  for (let scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height)); scale > 0.02; scale *= 0.75) {
    const blob = await encode(bitmap, scale, 0.9);
    if (!blob || (maxBytes && blob.size > maxBytes) || (maxPixels && bitmap.width * bitmap.height * scale ** 2 > maxPixels)) continue;
    const why = maxBytes && file.size > maxBytes ? `it has ${megabytes(file.size)}, and this service accepts ${megabytes(maxBytes)}` : "it has more pixels than this service accepts";
    bitmap.close();
    return { file: new File([blob], name, { type: "image/jpeg" }), note: `The photo was sent smaller: ${why}.`, scale };
  }
  bitmap.close();
  return same;
};

/** Files of a drop or a paste that may be photos; what is clearly no photo is left for the service to refuse. */
export const filesOf = (transfer) => [...(transfer?.files ?? [])];

const WHY = {
  NotAllowedError: "This page may not use the camera: permission was refused. Allow it in the browser, or choose a photo instead.",
  NotFoundError: "No camera was found. Choose a photo instead.",
  NotReadableError: "The camera is used by another program. Close that program, or choose a photo instead.",
};

/** Whether the phone's own camera is the better choice: it has focus, zoom and flash. */
export const prefersNativeCamera = () => matchMedia("(pointer: coarse)").matches || !navigator.mediaDevices?.getUserMedia;

/** Take photos with a camera of this computer; resolves to files, or to "choose" where a file is to be chosen. */
export const takePhotos = async () => {
  const taken = [];
  let stream = null;
  const result = await openDialog("Take a photo", (done, fail, dialog) => {
    const video = h("video", { autoplay: true, playsinline: true, "aria-label": "What the camera shows" });
    video.muted = true;
    const note = h("p", { class: "note", role: "status" }, "Starting the camera…");
    const use = button("Use it", () => done(taken), { class: "main", hidden: true });
    const shoot = button("Take it", async () => {
      const canvas = h("canvas", { width: video.videoWidth, height: video.videoHeight });
      canvas.getContext("2d").drawImage(video, 0, 0);
      const blob = await new Promise((resolve) => { canvas.toBlob(resolve, "image/jpeg", 0.92); });
      taken.push(new File([blob], `camera-${taken.length + 1}.jpg`, { type: "image/jpeg" }));
      video.classList.remove("flash");
      requestAnimationFrame(() => video.classList.add("flash"));
      note.textContent = taken.length === 1 ? "1 photo taken. Use it, or take another." : `${taken.length} photos taken.`;
      use.textContent = taken.length === 1 ? "Use it" : `Use ${taken.length} photos`;
      use.hidden = false;
      use.focus();
    }, { class: "main", disabled: true });
    const choose = button("Choose photos instead", () => done("choose"));
    navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 }, height: { ideal: 1440 } }, audio: false }).then((live) => {
      stream = live;
      if (!dialog.isConnected) return live.getTracks().forEach((track) => track.stop());
      video.srcObject = live;
      video.onloadedmetadata = () => { shoot.disabled = false; note.textContent = ""; shoot.focus(); };
      return undefined;
    }).catch((error) => {
      video.remove();
      shoot.remove();
      note.remove();
      fail(WHY[error.name] ?? "The camera cannot be used. Choose a photo instead.");
      choose.classList.add("main");
      focusOn(choose);
    });
    return [video, note, h("div", { class: "buttons end" }, choose, use, shoot)];
  }, { class: "camera" });
  stream?.getTracks().forEach((track) => track.stop());
  return result ?? [];
};
