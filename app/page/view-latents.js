// The list of all latents: sort, filter, search, and own labels.

import { get } from './api.js';
import { sparkline } from './charts.js';
import { button, debounce, field, fill, h, mark, newId, panel, select } from './dom.js';
import { count, number, percent } from './format.js';
import { labelEditor } from './labels.js';
import { empty, heading, latentLink } from './links.js';
import { labelOf, layers, learn, session } from './session.js';
import { state } from './state.js';
import { virtualList } from './virtual-list.js';
import { Work } from './work.js';

const COLUMNS = [
  ['latent', 'Latent', 'The number of the latent'],
  ['count', 'Count', 'On how many tokens and layers it was active'],
  ['density', 'Density', 'On which share of tokens it was active'],
  ['mean_layer', 'Mean layer', 'Mean of the layers, weighted by activation'],
  ['std', 'Std', 'Standard deviation over layers: small if it is active at one layer only'],
  ['entropy', 'Entropy', 'Entropy of its distribution over layers, in nats'],
  ['max', 'Max', 'Its largest activation'],
];
const SAVED_AT_A_TIME = 200; // the most rows that the server gives at once
const FILTERS = ['layer_from', 'layer_to', 'std_from', 'std_to', 'density_from', 'density_to', 'alive', 'q'];
const SHOWN = { latent: String, count, density: percent, mean_layer: number, std: number, entropy: number, max: number };

function rangeField(title, help, keys, { scale = 1, step = 'any' } = {}) {
  const boxes = keys.map((key, i) => {
    const box = h('input', { type: 'number', step, min: 0, id: key, title: help, placeholder: i ? 'to' : 'from', 'aria-label': `${title}, ${i ? 'to' : 'from'}` });
    box.addEventListener('change', () => {
      if (box.checkValidity()) state.set({ [key]: box.value === '' ? null : Number(box.value) / scale });
    });
    return box;
  });
  const id = newId('range');
  return {
    element: h('div', { class: 'field range', role: 'group', 'aria-labelledby': id }, h('label', { id, for: keys[0], title: help }, title),
      h('div', { class: 'field-row' }, boxes[0], h('span', { class: 'quiet' }, '–'), boxes[1])),
    update() {
      keys.forEach((key, i) => {
        const value = state.values[key];
        if (document.activeElement !== boxes[i]) boxes[i].value = value === null ? '' : Number((value * scale).toPrecision(6));
      });
    },
  };
}

const query = () => {
  const { sort, order } = state.values;
  const parameters = { sort, order };
  for (const key of FILTERS) if (state.values[key] !== null && state.values[key] !== '') parameters[key] = state.values[key];
  return parameters;
};

function sortBy(column) {
  const { sort, order } = state.values;
  const first = column === 'latent' || column === 'mean_layer' ? 'asc' : 'desc';
  const next = sort === column ? (order === 'asc' ? 'desc' : 'asc') : first;
  state.go({ sort: column, order: next });
}

export function latentsView() {
  const all = layers();
  const explained = session.info.data.explanations;
  const search = h('input', { type: 'search', id: 'search', autocomplete: 'off', spellcheck: false, placeholder: 'for example a word' });
  search.addEventListener('input', debounce(300, () => state.set({ q: search.value.trim() })));
  const searched = h('span', { class: 'quiet small' });
  const ranges = [
    rangeField('Mean layer', `Latents whose mean layer is in this range (${all[0]} to ${all[all.length - 1]})`, ['layer_from', 'layer_to']),
    rangeField('Std over layers', 'Latents whose standard deviation over layers is in this range', ['std_from', 'std_to']),
    rangeField('Density (%)', 'Latents that are active on this percentage of tokens', ['density_from', 'density_to'], { scale: 100 }),
  ];
  const alive = select([['', 'All'], ['true', 'Active at least once'], ['false', 'Never active']], '', (value) => state.set({ alive: value }),
    { id: 'alive' });
  const clear = button('Clear filters', 'Show all latents again', () => state.go(state.defaults(FILTERS)), { id: 'clear-filters' });
  const random = button('Random latent', 'Open the page of a latent chosen by chance', () => {
    state.go({ view: 'latent', latent: Math.floor(Math.random() * session.info.sae.latents), on: null });
  }, { id: 'random' });
  const total = h('p', { class: 'quiet', id: 'total', role: 'status' });
  const none = h('div', {});
  const work = new Work();
  const pageWork = new Work();
  const labelWork = new Work();
  const saveWork = new Work();

  const heads = COLUMNS.map(([key, title, help]) => h('span', { role: 'columnheader', data: { sort: key } },
    button(title, `${help}. Click to sort.`, () => sortBy(key))));
  const head = h('div', { class: 'list-row list-head', role: 'row', 'aria-rowindex': 1 }, heads,
    ['Layers', 'Promoted tokens', 'Label', ...(explained ? ['Explanation'] : [])].map((title) => h('span', { role: 'columnheader', class: 'plain-head' }, title)));

  function rowCells(row) {
    learn(row.latent, row.explanation);
    const cell = (child, title) => h('span', { role: 'cell', title }, child);
    const shares = row.profile ?? [];
    return [
      cell(latentLink(row.latent, row.label, { label: false })),
      ...COLUMNS.slice(1).map(([key]) => h('span', { role: 'cell', data: { column: key, value: row[key] } }, SHOWN[key](row[key]))),
      cell(sparkline(shares, shares.length ? `Share by layer: ${shares.map((share, l) => `${all[l]}: ${percent(share)}`).join(', ')}` : 'unknown', { width: 68 })),
      h('span', { role: 'cell', class: 'promoted', title: (row.top ?? []).join('  ') }, (row.top ?? []).map((text) => h('span', { class: 'token' }, text))),
      h('div', { role: 'cell' }, labelEditor(row.latent, row.label, { work: labelWork })),
      ...(explained ? [h('span', { role: 'cell', class: 'explained', dir: 'auto', title: row.explanation || null }, row.explanation)] : []),
    ];
  }

  const list = virtualList({
    id: 'latents', label: 'Latents', head, rowCells,
    fetchPage: async (offset, limit) => (await pageWork.run('Fetching rows', (options) => get('/latents', { ...query(), offset, limit }, options),
      { quiet: true, retry: () => list.redraw() }))?.rows,
  });
  list.element.classList.toggle('explained', explained);
  let asked = '';

  async function fetchList() {
    const parameters = query();
    const key = JSON.stringify(parameters);
    if (key === asked) return;
    asked = key;
    pageWork.stop();
    const answer = await work.run('Looking through the latents', (options) => get('/latents', { ...parameters, offset: 0, limit: list.pageSize }, options),
      { retry: () => { asked = ''; fetchList(); } });
    if (!answer || key !== asked) return;
    list.reset(answer.total, answer.rows);
    total.textContent = answer.total === session.info.sae.latents ? `${count(answer.total)} latents` : `${count(answer.total)} of ${count(session.info.sae.latents)} latents`;
    list.element.hidden = answer.total === 0;
    fill(none, answer.total === 0 && empty('No latent fits. Change the search or the filters, or ', button('clear them', 'Show all latents again', () => clear.click(), { class: 'text' }), '.'));
    const places = [['labels', 'labels'], ['explanations', 'explanations'], ['promoted', 'promoted tokens'], ['examples', 'examples']].filter(([name]) => answer.searched?.[name]);
    searched.textContent = places.length ? `Searches ${places.map(([, name]) => name).join(', ')}.` : '';
  }

  /** All rows that the search and the filters let through, sorted; nothing if that failed or was cancelled. */
  function allRows() {
    const parameters = query();
    return saveWork.run('Fetching all rows', async (options) => {
      const rows = [];
      for (let all = 1; rows.length < all;) {
        const answer = await get('/latents', { ...parameters, offset: rows.length, limit: SAVED_AT_A_TIME }, options);
        rows.push(...answer.rows);
        all = answer.rows.length ? answer.total : 0;
      }
      return rows;
    });
  }

  const element = h('div', { class: 'view' },
    heading('Latents', 'Every latent of the autoencoder, a row each: how often it is active, at which layers, and which tokens it makes more probable. '
      + 'Sort by a column, narrow the list, and open a latent by its number.'),
    session.info.data.distributions ? null : empty('How the latents are distributed over texts is not known here, so counts, layers and filters are empty.'),
    panel('Search and filters',
      h('div', { class: 'filters' }, h('div', { class: 'field' }, h('label', { for: 'search', title: 'Text to look for; the key / comes here' }, 'Search'), search),
        ranges.map((range) => range.element), field('Activity', alive, 'Latents that were active in the texts that were read, or not')),
      h('div', { class: 'row' }, random, clear, searched)),
    h('div', { class: 'row' }, total, work.element, pageWork.element, saveWork.element), labelWork.element, none, list.element);

  return {
    element,
    update(changed) {
      const { sort, order, q } = state.values;
      if (document.activeElement !== search || changed.has('shown')) search.value = q;
      for (const range of ranges) range.update();
      alive.value = state.values.alive;
      clear.disabled = FILTERS.every((key) => state.values[key] === null || state.values[key] === '');
      for (const cell of heads) {
        const mine = cell.dataset.sort === sort;
        mark(cell, 'aria-sort', mine ? (order === 'asc' ? 'ascending' : 'descending') : null);
        const title = COLUMNS.find(([key]) => key === cell.dataset.sort)[1];
        cell.firstChild.textContent = mine ? `${title} ${order === 'asc' ? '↑' : '↓'}` : title;
      }
      fetchList();
      if (changed.has('shown')) list.redraw();
    },
    async shown() {
      const asked = query();
      const found = await allRows();
      if (!found) return false;
      const rows = found.map((row) => ({ ...row, label: labelOf(row.latent, row.label) }));
      return { name: 'latents', data: { query: asked, rows },
        rows: rows.map(({ profile, ...row }) => ({ ...row, ...Object.fromEntries((profile ?? []).map((share, l) => [`share_layer_${all[l]}`, share])) })) };
    },
  };
}
