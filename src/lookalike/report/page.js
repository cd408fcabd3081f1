(() => {
  "use strict";
  const dialog = document.getElementById("large");
  const figures = [...dialog.querySelectorAll("figure")];
  let current = null;

  const cropped = (spot) => {
    const map = document.querySelector(".spots img");
    const [frame, place] = [map.getBoundingClientRect(), spot.getBoundingClientRect()];
    const scale = map.naturalWidth / frame.width;
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(place.width * scale);
    canvas.height = Math.round(place.height * scale);
    const from = [(place.left - frame.left) * scale, (place.top - frame.top) * scale];
    canvas.getContext("2d").drawImage(map, ...from, canvas.width, canvas.height, 0, 0, canvas.width, canvas.height);
    return canvas.toDataURL();
  };

  const fill = (figure, shot) => {
    figure.hidden = !shot;
    if (!shot) return;
    const image = figure.querySelector("img");
    if (shot.matches(".spot")) {
      image.src = cropped(shot);
      image.alt = shot.dataset.caption;
    } else {
      const source = shot.matches(".enlarge") ? document.querySelector(".spots img") : shot.querySelector("img");
      image.src = source.src;
      image.alt = source.alt;
    }
    const path = document.createElement("small");
    path.textContent = shot.dataset.path;
    figure.querySelector("figcaption").replaceChildren(shot.dataset.caption, path);
  };

  const show = (shot) => {
    current = shot;
    const query = shot.closest(".query");
    const asked = query && query.querySelector(".asked .shot");
    fill(figures[0], asked || shot);
    fill(figures[1], asked && asked !== shot ? shot : null);
    dialog.classList.toggle("alone", !query);
    dialog.classList.toggle("map", shot.matches(".enlarge"));
    if (!dialog.open) dialog.showModal();
  };

  const step = (by) => {
    const query = current && current.closest(".query");
    if (!query) return;
    const shots = [...query.querySelectorAll(".shot")];
    show(shots[(shots.indexOf(current) + by + shots.length) % shots.length]);
  };

  document.addEventListener("click", (event) => {
    const shot = event.target.closest("main .shot, main .spot, main .enlarge");
    if (shot) show(shot);
    else if (event.target === dialog || event.target.closest(".close")) dialog.close();
    else if (event.target.closest(".step")) step(Number(event.target.closest(".step").dataset.by));
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") step(1);
    if (event.key === "ArrowLeft") step(-1);
  });
  dialog.addEventListener("close", () => current && current.focus());
})();
