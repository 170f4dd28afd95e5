// The map of a latent: layers down, positions across, colour by activation; on a canvas.

import { colours, onTheme, shade } from './colours.js';
import { h } from './dom.js';
import { number, quoted } from './format.js';

const LEFT = 66;
const ROW = 24;
const WIDEST = 40;
const NARROWEST = 5;
const LABELS = 58; // height of the tokens under the map

/** `onHold(layer index, position)`; `onHover` gets the same, or nothing when the pointer leaves. */
export function layerMap({ id, onHold, onHover }) {
  const canvas = h('canvas', { id, tabindex: 0, role: 'application', 'aria-roledescription': 'map of layers and positions',
    title: 'Click a cell to hold its layer and position. Arrow keys move.' });
  const box = h('div', { class: 'map-box' }, canvas);
  const readout = h('p', { class: 'readout', 'aria-live': 'polite' });
  const element = h('div', { class: 'map' }, box, readout);
  let data = null;
  let geometry = null;
  let width = 0;

  const cellAt = (event) => {
    if (!geometry) return null;
    const bounds = canvas.getBoundingClientRect();
    const t = Math.floor((event.clientX - bounds.left - LEFT) / geometry.cell);
    const l = Math.floor((event.clientY - bounds.top) / ROW);
    return l >= 0 && l < data.layers.length && t >= 0 && t < data.tokens.length ? [l, t] : null;
  };
  canvas.addEventListener('pointermove', (event) => {
    if (event.pointerType === 'touch') return;
    const cell = cellAt(event);
    if (cell) onHover?.(...cell);
    else onHover?.();
  });
  canvas.addEventListener('pointerleave', () => onHover?.());
  canvas.addEventListener('click', (event) => {
    const cell = cellAt(event);
    if (cell) onHold?.(...cell);
  });
  canvas.addEventListener('keydown', (event) => {
    if (!data || event.ctrlKey || event.metaKey || event.altKey) return;
    let [l, t] = data.held;
    if (event.key === 'ArrowLeft') t -= 1;
    else if (event.key === 'ArrowRight') t += 1;
    else if (event.key === 'ArrowUp') l -= 1;
    else if (event.key === 'ArrowDown') l += 1;
    else if (event.key === 'Home') t = 0;
    else if (event.key === 'End') t = data.tokens.length - 1;
    else return;
    event.preventDefault();
    if (l < 0 || l >= data.layers.length || t < 0 || t >= data.tokens.length) return;
    data.held = [l, t]; // the next key may come before the next drawing
    onHold?.(l, t);
  });

  function draw() {
    if (!data || width === 0) return;
    const { layers, tokens, share, held, active } = data;
    const cell = Math.max(NARROWEST, Math.min(WIDEST, Math.floor((width - LEFT - 2) / tokens.length)));
    const labels = cell >= 13;
    geometry = { cell };
    const size = { width: LEFT + cell * tokens.length + 2, height: ROW * layers.length + (labels ? LABELS : 18) };
    const scale = window.devicePixelRatio || 1;
    canvas.width = size.width * scale;
    canvas.height = size.height * scale;
    canvas.style.width = `${size.width}px`;
    canvas.style.height = `${size.height}px`;
    const ink = colours();
    const pen = canvas.getContext('2d');
    pen.scale(scale, scale);
    pen.font = '12px system-ui, sans-serif';
    pen.textBaseline = 'middle';
    layers.forEach((layer, l) => {
      pen.fillStyle = ink.text;
      pen.textAlign = 'right';
      pen.fillText(`layer ${layer}`, LEFT - 8, ROW * l + ROW / 2);
      for (let t = 0; t < tokens.length; t += 1) {
        const value = share(l, t);
        pen.fillStyle = value > 0 ? shade(value).fill : ink.plain.fill;
        pen.fillRect(LEFT + cell * t, ROW * l, cell, ROW);
        pen.strokeStyle = ink.line;
        pen.lineWidth = 0.5;
        pen.strokeRect(LEFT + cell * t + 0.25, ROW * l + 0.25, cell - 0.5, ROW - 0.5);
      }
    });
    tokens.forEach((token, t) => {
      pen.fillStyle = ink.text;
      if (labels) {
        pen.save();
        pen.translate(LEFT + cell * t + cell / 2, ROW * layers.length + 6);
        pen.rotate(Math.PI / 3);
        pen.textAlign = 'left';
        const text = [...token.text];
        pen.fillText(text.length > 7 ? `${text.slice(0, 6).join('')}…` : token.text, 0, 0);
        pen.restore();
      } else if (t % 10 === 0) {
        pen.textAlign = 'left';
        pen.fillText(String(t), LEFT + cell * t, ROW * layers.length + 10);
      }
    });
    ring(pen, ink.text, 1.5, held, cell, [3, 2]);
    ring(pen, ink.ring, 2.5, active, cell, []);
    reveal(LEFT + cell * active[1], cell);
  }

  /** Scrolls a wide map so that a cell is in sight. */
  function reveal(x, cell) {
    const { scrollLeft, clientWidth } = box;
    if (x - LEFT < scrollLeft) box.scrollLeft = x - LEFT;
    else if (x + 2 * cell > scrollLeft + clientWidth) box.scrollLeft = x + 2 * cell - clientWidth;
  }

  function ring(pen, colour, thick, [l, t], cell, dash) {
    pen.strokeStyle = colour;
    pen.lineWidth = thick;
    pen.setLineDash(dash);
    pen.strokeRect(LEFT + cell * t + thick / 2, ROW * l + thick / 2, cell - thick, ROW - thick);
    pen.setLineDash([]);
  }

  function describe() {
    const { layers, tokens, value, share, active, name } = data;
    const [l, t] = active;
    readout.textContent = `Layer ${layers[l]}, position ${t} ${quoted(tokens[t].text)}: activation ${number(value(l, t))}`
      + (share(l, t) > 0 ? ` (${number(100 * share(l, t))} % of the largest of any latent there)` : '');
    let best = [0, 0];
    let fires = 0;
    for (let i = 0; i < layers.length; i += 1) {
      for (let j = 0; j < tokens.length; j += 1) {
        if (value(i, j) > 0) fires += 1;
        if (value(i, j) > value(...best)) best = [i, j];
      }
    }
    const summary = fires === 0 ? `${name} is active nowhere in this text.`
      : `${name} is active at ${fires} of ${layers.length * tokens.length} layers and positions; largest ${number(value(...best))} at layer `
        + `${layers[best[0]]}, position ${best[1]} ${quoted(tokens[best[1]].text)}.`;
    canvas.setAttribute('aria-label', summary);
    canvas.textContent = summary;
  }

  new ResizeObserver(() => {
    if (box.clientWidth === width) return;
    width = box.clientWidth;
    draw();
  }).observe(box);
  onTheme(draw);

  return {
    element,
    /** `layers`, `tokens`, `value(l, t)`, `share(l, t)`, `held` and `active` as [layer index, position], `name` of the latent. */
    update(next) {
      data = next;
      width = box.clientWidth;
      draw();
      describe();
    },
  };
}
