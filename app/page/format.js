// Numbers as they are shown, and the steps of the colour scales.

const MINUS = '−';
const grouped = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

/** Three significant digits; a dash where nothing is known. */
export function number(x, digits = 3) {
  if (x == null || Number.isNaN(x)) return '–';
  if (x === 0) return '0';
  const size = Math.abs(x);
  let text;
  if (size >= 10 ** digits - 0.5) text = grouped.format(size);
  else if (size >= 0.001) text = size.toPrecision(digits);
  else text = size.toExponential(digits - 1).replace('-', MINUS);
  return x < 0 ? MINUS + text : text;
}

export const count = (x) => (x == null ? '–' : grouped.format(x));
export const percent = (x) => (x == null ? '–' : `${number(100 * x)} %`);
export const signed = (x) => {
  if (x == null) return '–';
  const text = Number.isInteger(x) ? count(Math.abs(x)) : number(Math.abs(x));
  return x > 0 ? `+${text}` : x < 0 ? MINUS + text : '0';
};

export const STEPS = 12;

/** The step (1 to 12) of a share of 0 to 1, or null for nothing. CSS has a colour and a readable ink for each. */
export function step(share) {
  if (!(share > 0)) return null;
  return Math.max(1, Math.min(STEPS, Math.ceil(share * STEPS)));
}

/** Data attributes of a difference in −1 to 1: blue for more, orange for less. */
export function difference(share) {
  return share >= 0 ? { h: step(share) } : { c: step(-share) };
}

/** “word” in quotation marks, for titles and labels. */
export const quoted = (text) => `“${text}”`;

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
