// What numbers mean, in plain words.

export const decimals = (value) => value.toFixed(2);

const whole = (value) => value.toLocaleString("en", { maximumSignificantDigits: 2 });

/** A share such as 0.01 as "1 in 100" or, above a tenth, "30 in 100". */
export const oneIn = (rate) => {
  if (rate <= 0) return "none";
  return rate > 0.1 ? `${whole(100 * rate)} in 100` : `1 in ${whole(1 / rate)}`;
};

/** The threshold and what it promises about strangers, in one or two sentences. */
export const promise = (point) => {
  if (!point) return "This index has no threshold, so it shows the most similar and cannot tell who is new.";
  const [low, high] = point.fpir_interval ?? [point.fpir, point.fpir];
  const chance = point.extrapolated
    ? `At most ${oneIn(point.fpir)} strangers is then given a name by mistake; this is an upper bound, since an index of this size could not be tested.`
    : `About ${oneIn(point.fpir)} strangers is then given a name by mistake (by our tests, between ${whole(100 * low)} and ${whole(100 * high)} in 100).`;
  return `A name is given from a similarity of ${decimals(point.threshold)}. ${chance}`;
};

/** When something was, as a person would say it; the exact time goes into `title`. */
export const ago = (time) => {
  const seconds = (Date.now() - new Date(time).getTime()) / 1000;
  if (!Number.isFinite(seconds)) return time;
  if (seconds < 60) return "just now";
  const format = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  for (const [unit, length, limit] of [["minute", 60, 3600], ["hour", 3600, 86400], ["day", 86400, 604800]]) {
    if (seconds < limit) return format.format(-Math.round(seconds / length), unit);
  }
  return new Date(time).toLocaleDateString("en", { day: "numeric", month: "long", year: "numeric" });
};
