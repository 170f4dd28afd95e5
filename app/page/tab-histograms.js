// Tab Histograms: how the activations of all latents are distributed at each layer.

import { get } from './api.js';
import { histogram } from './charts.js';
import { fill, h, mark, note } from './dom.js';
import { count } from './format.js';
import { active, hover, held, session, withId } from './session.js';
import { state } from './state.js';
import { Loader } from './work.js';

const BINS = 64;

export function histogramsTab() {
  const rows = h('div', { role: 'radiogroup', 'aria-label': 'Layer', id: 'histograms' });
  const loader = new Loader(() => draw());
  const element = h('div', {}, note('Activations over the whole prompt: how many have each size, at each layer (logarithmic). '
    + 'The bar on the left is the number that are zero. Click a row to hold its layer.'), loader.element, rows);
  let drawn = null;

  function draw() {
    const { prompt } = session;
    const answer = prompt && loader.get(prompt);
    if (!answer) return;
    if (drawn !== answer) {
      drawn = answer;
      const top = Math.max(...answer.zeros, ...answer.values.flat());
      fill(rows, prompt.layers.map((layer, l) => {
        const active = answer.values[l].reduce((sum, x) => sum + x, 0);
        const text = `Layer ${layer}: ${count(active)} activations above zero, ${count(answer.zeros[l])} zero`;
        const row = h('div', { class: 'histogram-row', role: 'radio', 'aria-label': text, data: { layer } },
          h('div', { class: 'histogram-name' }, h('b', {}, `layer ${layer}`), h('span', { class: 'quiet small' }, `${count(active)} active`)),
          histogram(answer.values[l], answer.edges, answer.zeros[l], top, text));
        row.addEventListener('click', () => state.go({ layer }));
        row.addEventListener('pointerenter', (event) => event.pointerType !== 'touch' && hover({ layer }));
        row.addEventListener('pointerleave', () => hover());
        row.addEventListener('keydown', (event) => {
          const move = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
          if (move === undefined && event.key !== ' ' && event.key !== 'Enter') return;
          event.preventDefault();
          const next = rows.children[(l + (move ?? 0) + prompt.layers.length) % prompt.layers.length];
          next.focus();
          state.go({ layer: Number(next.dataset.layer) });
        });
        return row;
      }));
    }
    for (const row of rows.children) {
      const layer = Number(row.dataset.layer);
      mark(row, 'aria-checked', String(layer === held().layer));
      mark(row, 'data-active', layer === active().layer);
      row.tabIndex = layer === held().layer ? 0 : -1;
    }
  }

  return {
    element,
    update(prompt) {
      loader.load(prompt, 'Counting activations', (options) => withId(prompt,
        (id) => get(`/prompt/${encodeURIComponent(id)}/histograms`, { bins: BINS }, options), options));
      draw();
    },
    shown(prompt) {
      const answer = loader.get(prompt);
      if (!answer) return null;
      return {
        name: 'histograms', data: { prompt: prompt.text, layers: prompt.layers, ...answer },
        rows: prompt.layers.flatMap((layer, l) => [{ layer, from: 0, to: 0, count: answer.zeros[l] },
          ...answer.values[l].map((n, i) => ({ layer, from: answer.edges[i], to: answer.edges[i + 1], count: n }))]),
      };
    },
  };
}
