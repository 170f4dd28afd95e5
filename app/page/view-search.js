// Search by activation: which latents are active on the tokens that one chooses.

import { sparkline } from './charts.js';
import { button, checkbox, field, fill, h, mark, note, panel, right, select, table } from './dom.js';
import { number, percent, plural } from './format.js';
import { empty, heading, latentLink, link } from './links.js';
import { placePrompt } from './prompt-box.js';
import { labelOf, layers, session } from './session.js';
import { state } from './state.js';
import { tokenStrip } from './tokens.js';

const PAGE = 60;
const DENSE = 0.01;
const SORTS = [
  ['sum', 'Sum on chosen tokens', 'Sum of the activations on the chosen tokens'],
  ['max', 'Largest on chosen tokens', 'Largest activation on the chosen tokens'],
  ['share', 'Only on chosen tokens', 'Share of its activation in the text that is on the chosen tokens'],
  ['density', 'Rarest first', 'The share of tokens on which it is active over many texts'],
];

/** Positions as `3,4,5` in the state. */
export const readPositions = (text, length) => text.split(/[,.]/).filter((x) => x !== '').map(Number).filter((t) => Number.isInteger(t) && t >= 0 && t < length);

/** Adds or removes a position; with shift, adds all since the last one. */
export function togglePosition(chosen, position, event, last) {
  const set = new Set(chosen);
  if (event?.shiftKey && last !== null) for (let t = Math.min(last, position); t <= Math.max(last, position); t += 1) set.add(t);
  else if (!set.delete(position)) set.add(position);
  return [...set].sort((a, b) => a - b).join(',');
}

/** The latents that are active on some positions, at one layer (by its index) or all. */
function activeOn(prompt, chosen, only, { hideDense, hideSpecial }) {
  const found = new Map();
  const isChosen = new Set(chosen);
  for (let t = 0; t < prompt.length; t += 1) {
    if (hideSpecial && prompt.tokens[t].special) continue;
    prompt.each(t, (l, latent, value) => {
      if (only !== null && l !== only) return;
      let row = found.get(latent);
      if (!row) found.set(latent, row = { latent, sum: 0, max: 0, all: 0, layer: l, best: 0, profile: new Array(prompt.length).fill(0) });
      row.profile[t] = Math.max(row.profile[t], value);
      row.all += value;
      if (!isChosen.has(t)) return;
      row.sum += value;
      row.max = Math.max(row.max, value);
      if (value > row.best) [row.best, row.layer] = [value, l];
    });
  }
  const rows = [];
  for (const row of found.values()) {
    if (row.sum === 0) continue;
    const about = prompt.about(row.latent);
    if (hideDense && about.density > DENSE) continue;
    rows.push({ ...row, share: row.sum / row.all, density: about.density, meanLayer: about.mean_layer, label: about.label });
  }
  return rows;
}

const ORDER = {
  sum: (a, b) => b.sum - a.sum, max: (a, b) => b.max - a.max, share: (a, b) => b.share - a.share || b.sum - a.sum,
  density: (a, b) => (a.density ?? 2) - (b.density ?? 2) || b.sum - a.sum,
};

const HEADS = ['Latent', ['Sum', 'Sum of the activations on the chosen tokens'], ['Largest', 'Largest activation on the chosen tokens'],
  ['There', 'Share of its activation in the text that is on the chosen tokens'], ['Strongest at', 'The layer of the largest activation'],
  ['Mean layer', 'Over many texts'], ['Density', 'Share of tokens on which it is active, over many texts'], ['Over the text', 'Largest activation of any layer, token by token'], ''];

export function searchView() {
  const slot = h('div', {});
  let last = null;
  let hovered = null;
  let rows = [];
  let shownRows = PAGE;
  let drawn = '';
  const strip = tokenStrip({ id: 'search-tokens', label: 'Tokens to search by', many: true, onHold: (position, event) => {
    const chosen = readPositions(state.values.chosen, session.prompt.length);
    state.go({ chosen: togglePosition(chosen, position, event, last) });
    last = position;
  } });
  const by = select(SORTS.map(([key, title]) => [key, title]), 'sum', (value) => state.set({ by: value }), { id: 'search-sort' });
  const where = select([['', 'all layers'], ...layers().map((layer) => [layer, `layer ${layer}`])], '', (value) => state.set({ in: value }), { id: 'search-layer' });
  const dense = checkbox('Hide dense latents', 'Hide latents that are active on more than 1 % of tokens', (value) => state.set({ dense: value }), { id: 'hide-dense' });
  const special = checkbox('Hide special tokens', 'Leave out activations on special tokens', (value) => state.set({ special: value }), { id: 'hide-special' });
  const clear = button('Clear the choice', 'Choose no token', () => state.go({ chosen: '' }), { id: 'search-clear' });
  const total = h('p', { class: 'quiet small', role: 'status', id: 'search-total' });
  const box = h('div', { on: { pointerover: (event) => preview(event.target), focusin: (event) => preview(event.target), pointerleave: () => preview(null) } });
  const body = h('div', { class: 'stack' },
    panel('Tokens', h('h2', {}, 'Choose tokens'),
      note('Click tokens to choose them, Shift+click for all between. Point at a row below to colour the tokens by that latent.'), strip.element,
      h('div', { class: 'row bottom' }, field('Sort by', by, 'The order of the latents'), field('Layer', where, 'Look at one layer or at all'), dense.element, special.element, clear)),
    panel('Latents found', h('h2', {}, 'Latents'), total, box));
  const element = h('div', { class: 'view' },
    heading('Search by activation', 'Find latents by example: type a text with what you look for, choose the tokens that show it, and see which latents are active there.'), slot, body);

  function colourTokens() {
    const { prompt } = session;
    const chosen = new Set(readPositions(state.values.chosen, prompt.length));
    const row = rows.find(({ latent }) => latent === hovered);
    const top = row ? Math.max(...row.profile) : 0;
    strip.update({
      tokens: prompt.tokens, chosen: (t) => chosen.has(t), share: row ? (t) => row.profile[t] / top : null,
      title: (t) => (row ? `latent ${row.latent}: ${number(row.profile[t])}` : chosen.has(t) ? 'chosen' : 'click to choose'),
    });
  }

  function draw() {
    const { prompt } = session;
    const list = rows.slice(0, shownRows);
    const top = Math.max(0, ...rows.map((row) => row.sum));
    const lines = list.map((row) => h('tr', { data: { latent: row.latent } },
      h('th', { scope: 'row' }, latentLink(row.latent, row.label)),
      h('td', { class: 'right', data: { value: row.sum, h: top ? Math.max(1, Math.ceil((row.sum / top) * 12)) : null } }, number(row.sum)),
      right(number(row.max)), right(percent(row.share)),
      right(`layer ${prompt.layers[row.layer]}`), right(number(row.meanLayer)), right(percent(row.density)),
      h('td', {}, sparkline(row.profile, `Activation of latent ${row.latent} over the tokens`, { width: 160 })),
      h('td', {}, link('in the prompt', { view: 'prompt', latent: row.latent, layer: prompt.layers[row.layer], tab: 'examples' }, `See latent ${row.latent} in the prompt`, { class: 'small' }))));
    fill(box, table('search-results', 'Latents active on the chosen tokens', HEADS, lines),
    rows.length > list.length && button(`Show ${Math.min(PAGE, rows.length - list.length)} more`, 'Show the next rows', () => {
      shownRows += PAGE;
      draw();
    }));
  }

  function preview(target) {
    const latent = target?.closest('tr[data-latent]')?.dataset.latent ?? null;
    const next = latent === null ? null : Number(latent);
    if (next === hovered) return;
    hovered = next;
    colourTokens();
  }

  return {
    element,
    update() {
      placePrompt(slot);
      const { prompt } = session;
      body.hidden = !prompt;
      if (!prompt) return;
      const { values } = state;
      by.value = Object.hasOwn(ORDER, values.by) ? values.by : 'sum';
      where.value = layers().includes(Number(values.in)) && values.in !== '' ? values.in : '';
      dense.box.checked = values.dense;
      special.box.checked = values.special;
      const chosen = readPositions(values.chosen, prompt.length);
      clear.disabled = chosen.length === 0;
      const key = JSON.stringify([prompt.text, values.chosen, by.value, where.value, values.dense, values.special, [...session.labels]]);
      if (key !== drawn) {
        drawn = key;
        shownRows = PAGE;
        hovered = null;
        rows = activeOn(prompt, chosen, where.value === '' ? null : layers().indexOf(Number(where.value)), { hideDense: values.dense, hideSpecial: values.special })
          .sort(ORDER[by.value]);
        mark(total, 'hidden', chosen.length === 0);
        total.textContent = `${plural(rows.length, 'latent')} on ${plural(chosen.length, 'token')}.`;
        if (chosen.length === 0) fill(box, empty('Choose one or more tokens above.'));
        else if (rows.length === 0) fill(box, empty('No latent is left. Choose other tokens, or show dense latents and special tokens.'));
        else draw();
      }
      colourTokens();
    },
    shown: () => ({ name: 'search', data: { prompt: session.prompt?.text, positions: state.values.chosen, rows },
      rows: rows.map((row) => ({ latent: row.latent, label: labelOf(row.latent, row.label), sum: row.sum, largest: row.max, share: row.share,
        layer: layers()[row.layer], mean_layer: row.meanLayer, density: row.density })) }),
  };
}
