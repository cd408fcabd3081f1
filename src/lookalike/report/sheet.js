(() => {
  "use strict";
  const list = document.querySelector(".cards");
  const cards = [...list.children];
  const find = document.getElementById("find");
  const order = document.getElementById("order");
  const split = document.getElementById("split");
  const dialog = document.getElementById("large");
  const board = dialog.querySelector(".board");
  const mark = dialog.querySelector(".mark");
  const path = dialog.querySelector(".path");
  const asked = path.textContent;
  const plain = (text) => text.normalize("NFKC").toLowerCase();
  const name = (card) => card.querySelector("h2").textContent;
  const names = new Map(cards.map((card) => [card, plain(name(card))]));
  const byName = new Intl.Collator(undefined, { numeric: true });
  const size = (card) => Number(card.dataset.size);
  let current = null;

  const orders = {
    largest: (a, b) => size(b) - size(a) || byName.compare(names.get(a), names.get(b)),
    smallest: (a, b) => size(a) - size(b) || byName.compare(names.get(a), names.get(b)),
    name: (a, b) => byName.compare(names.get(a), names.get(b)),
  };
  const visible = () => [...list.children].filter((card) => !card.hidden);

  const choose = () => {
    const wanted = plain(find.value.trim());
    const part = split ? split.value : "";
    let count = 0;
    for (const card of cards) {
      const inside = !part || card.dataset.splits.split(" ").includes(part);
      card.hidden = !(inside && names.get(card).includes(wanted));
      count += card.hidden ? 0 : 1;
    }
    const all = cards.length.toLocaleString("en");
    const some = count.toLocaleString("en");
    document.getElementById("count").textContent = count === cards.length ? `${all} classes` : `${some} of ${all} classes`;
    document.querySelector(".empty").hidden = count > 0;
  };

  const sort = () => list.append(...cards.sort(orders[order.value]));

  const show = (card) => {
    current = card;
    const small = card.querySelector("img");
    const large = board.querySelector("img");
    large.src = small.src;
    large.alt = small.alt;
    large.width = small.getAttribute("width");
    large.height = small.getAttribute("height");
    dialog.querySelector("h2").textContent = name(card);
    dialog.querySelector(".sizes").textContent = card.querySelector("p").textContent;
    mark.hidden = true;
    path.textContent = asked;
    if (!dialog.open) dialog.showModal();
  };

  const pick = (event) => {
    const across = Number(list.dataset.across);
    const box = board.getBoundingClientRect();
    const side = box.width / across;
    const column = Math.floor((event.clientX - box.left) / side);
    const row = Math.floor((event.clientY - box.top) / side);
    const file = current.dataset.paths.split("//")[row * across + column];
    if (column >= across || !file) return;
    mark.hidden = false;
    Object.assign(mark.style, { left: `${column * side}px`, top: `${row * side}px`, width: `${side}px`, height: `${side}px` });
    const place = [list.dataset.start, file].join("/");
    const link = document.createElement(place.includes(".tar/@") ? "span" : "a");  // no browser opens an image in a shard
    if (link.tagName === "A") Object.assign(link, { href: place.split("/").map(encodeURIComponent).join("/"), target: "_blank" });
    link.textContent = file.replace(/[\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
    path.replaceChildren(link);
  };

  const step = (by) => {
    const shown = visible();
    if (shown.length) show(shown[(shown.indexOf(current) + by + shown.length) % shown.length]);
  };

  find.addEventListener("input", choose);
  if (split) split.addEventListener("change", choose);
  order.addEventListener("change", sort);
  document.addEventListener("click", (event) => {
    const shot = event.target.closest(".card .shot");
    if (shot) show(shot.closest(".card"));
    else if (event.target === dialog || event.target.closest(".close")) dialog.close();
    else if (event.target.closest(".step")) step(Number(event.target.closest(".step").dataset.by));
    else if (event.target.closest(".board")) pick(event);
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") step(1);
    if (event.key === "ArrowLeft") step(-1);
  });
  dialog.addEventListener("close", () => current && current.querySelector(".shot").focus());
  document.querySelector(".controls").hidden = false;
  choose();
})();
