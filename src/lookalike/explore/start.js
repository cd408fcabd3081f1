// Everything in its place.
const retheme = () => {
  readTones();
  colour(colours.column || data.columns[0]);
  showLegend();
  draw();
};
const chooseColour = element("colour");
unpack(element("data").textContent).then((read) => {
  begin(read);
  element("data").remove();
  readTones();
  for (const column of data.columns) {
    if (column.kind !== "text") chooseColour.append(make("option", { value: String(column.place) }, column.name));
  }
  colour(data.columns[0]);
  measure();
  fit();
  rank();
  useTool("move");
  showLegend();
  paint();
  document.body.dataset.ready = "yes";
});
chooseColour.addEventListener("change", () => {
  if (lit >= 0) [lit, state.matched] = [-1, null];
  colour(data.columns[Number(chooseColour.value)]);
  refresh();
  showLegend();
});
dark.addEventListener("change", retheme);
new ResizeObserver(() => {
  if (!data) return;
  const [wide, high] = [view.width, view.height];
  measure();
  view.left += (view.width - wide) / 2;
  view.top += (view.height - high) / 2;
  paint();
}).observe(element("map"));
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.closest("input, dialog")) {
    event.preventDefault();
    element("search").focus();
  }
});
// What a test or a benchmark asks.
window.lookalike = { data: () => data, state, view, drawn, draw, paint, screenX, screenY };
