// One colour a row, from the chosen column, for the light or the dark theme.
const dark = matchMedia("(prefers-color-scheme: dark)");
const FEW = {
  light: ["#0b6592", "#c2570c", "#4d7a1f", "#8a46b3", "#a8326e", "#8a6a00", "#0a7f78", "#5b62c9", "#b3352f", "#6b5b4b"],
  dark: ["#6bbbe6", "#f2a15c", "#a3cf72", "#cfa5f0", "#ee8bba", "#dcb941", "#5fd0c6", "#a5abff", "#ff928a", "#c9b8a4"],
};
const SCALE = {
  light: ["#f2c14e", "#e3793f", "#b83d5e", "#6d2a78", "#251b5a"],
  dark: ["#3b4a9e", "#8b4fb0", "#d9578c", "#f78f62", "#fde27a"],
};
const theme = () => (dark.matches ? "dark" : "light");
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
let tones = {};
const readTones = () => {
  tones = { paper: css("--paper"), ink: css("--ink"), muted: css("--muted"), faint: css("--faint"), glass: css("--glass") };
};
const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const word = ([red, green, blue], alpha = 255) => ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;

const fromHsl = (hue, saturation, lightness) => {
  const spread = saturation * Math.min(lightness, 1 - lightness);
  return [0, 8, 4].map((shift) => {
    const at = (shift + hue / 30) % 12;
    return Math.round(255 * (lightness - spread * Math.max(-1, Math.min(at - 3, 9 - at, 1))));
  });
};
const classColour = (code, classes) => {
  if (classes <= FEW.light.length) return rgb(FEW[theme()][code % FEW.light.length]);
  const lightness = dark.matches ? [0.62, 0.72, 0.8][code % 3] : [0.34, 0.42, 0.5][code % 3];
  return fromHsl((code * 137.508 + 205) % 360, dark.matches ? 0.62 : 0.66, lightness);
};
const between = (share) => {
  const stops = SCALE[theme()];
  const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const low = Math.min(Math.floor(at), stops.length - 2);
  const [one, two] = [rgb(stops[low]), rgb(stops[low + 1])];
  return one.map((value, band) => Math.round(value + (two[band] - value) * (at - low)));
};

const colours = { words: null, css: null, column: null, low: 0, high: 1 };
const asCss = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;
const codesOf = (column) => (column.place === 0 ? state.labels : column.codes);
const valuesOf = (column) => (column.place === 0 ? state.names : column.values);

const range = (column) => {
  const known = Array.from(column.codes).filter((value) => !Number.isNaN(value)).sort((one, two) => one - two);
  const at = (share) => known[Math.round(share * (known.length - 1))];
  return known.length ? [at(0.01), at(0.99)] : [0, 1];
};
const colour = (column) => {
  colours.column = column;
  colours.words = new Uint32Array(count);
  const muted = rgb(tones.muted);
  if (column.kind === "category") {
    const codes = codesOf(column);
    const classes = valuesOf(column).length;
    const table = Array.from({ length: classes }, (_, code) => classColour(code, classes));
    colours.of = (row) => table[codes[row]];
    colours.css = table.map(asCss);
  } else {
    [colours.low, colours.high] = range(column);
    const width = colours.high - colours.low || 1;
    colours.of = (row) => {
      const value = column.codes[row];
      return Number.isNaN(value) ? muted : between((value - colours.low) / width);
    };
  }
  for (let row = 0; row < count; row++) colours.words[row] = word(colours.of(row));
};
