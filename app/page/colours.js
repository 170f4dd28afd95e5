// The colours of the style sheet for drawing on a canvas.

import { h } from './dom.js';
import { STEPS, step } from './format.js';

let scale = null;

/** Background and ink of each step of the blue scale in the present theme, and the plain colours. */
export function colours() {
  if (scale) return scale;
  const probe = h('div', { class: 'probe' });
  document.body.append(probe);
  const read = () => {
    const style = getComputedStyle(probe);
    return { fill: style.backgroundColor, ink: style.color };
  };
  const plain = read();
  const steps = [];
  for (let i = 1; i <= STEPS; i += 1) {
    probe.dataset.h = i;
    steps.push(read());
  }
  delete probe.dataset.h;
  const named = (name) => {
    probe.className = `probe probe-${name}`;
    return read().fill;
  };
  scale = { plain, steps, line: named('line'), text: named('text'), ring: named('ring') };
  probe.remove();
  return scale;
}

export function shade(share) {
  const i = step(share);
  const { plain, steps } = colours();
  return i === null ? plain : steps[i - 1];
}

const listeners = [];
export const onTheme = (listener) => listeners.push(listener);

export function themeChanged() {
  scale = null;
  for (const listener of listeners) listener();
}
