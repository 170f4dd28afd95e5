// Tab Heat maps: all latents above the threshold at the held position or range, by layer.

import { button, fill, h, mark, note } from './dom.js';
import { number, percent, plural, quoted, step } from './format.js';
import { empty, latentLink } from './links.js';
import { active, held, hover, labelOf, session } from './session.js';
import { state } from './state.js';

const FIRST_ROWS = 150;

/** One row a latent: largest activation by layer over positions `from` to `to`, and relative to the largest of any latent. */
export function activeLatents(prompt, from, to, threshold) {
  const found = new Map();
  const size = prompt.layers.length;
  for (let t = from; t <= to; t += 1) {
    prompt.each(t, (l, latent, value) => {
      const max = prompt.max[l][t];
      const share = max > 0 ? value / max : 0;
      let row = found.get(latent);
      if (!row) found.set(latent, row = { latent, values: new Array(size).fill(0), shares: new Array(size).fill(0) });
      row.values[l] = Math.max(row.values[l], value);
      row.shares[l] = Math.max(row.shares[l], share);
    });
  }
  const rows = [...found.values()].filter(({ shares }) => shares.some((share) => share > threshold));
  for (const row of rows) {
    row.total = row.values.reduce((sum, x) => sum + x, 0);
    row.meanLayer = row.values.reduce((sum, x, l) => sum + x * prompt.layers[l], 0) / row.total;
  }
  return rows.sort((a, b) => a.meanLayer - b.meanLayer || b.total - a.total || a.latent - b.latent);
}

export function heatMapTab() {
  const facts = note();
  const box = h('div', { class: 'scroll tall' });
  const more = h('div', {});
  const element = h('div', {}, facts, box, more);
  let drawn = '';
  let all = false;
  let rows = [];
  let table = null;

  const focusCell = (cell) => {
    if (!cell) return;
    for (const old of table.querySelectorAll('[tabindex="0"]')) old.tabIndex = -1;
    cell.tabIndex = 0;
    cell.focus();
  };

  function keys(event) {
    const cell = event.target.closest('[data-column]');
    if (!cell || event.ctrlKey || event.metaKey || event.altKey) return;
    const row = cell.parentElement;
    const column = Number(cell.dataset.column);
    const at = (line, x) => line?.querySelector(`[data-column="${x}"]`);
    const next = {
      ArrowRight: () => at(row, column + 1), ArrowLeft: () => at(row, column - 1),
      ArrowDown: () => at(row.nextElementSibling, column), ArrowUp: () => at(row.previousElementSibling, column),
      Home: () => at(row, 0), End: () => row.lastElementChild,
    }[event.key];
    if (next) {
      event.preventDefault();
      focusCell(next());
    } else if (event.key === 'Enter' || event.key === ' ') {
      if (event.target.tagName === 'A') return;
      event.preventDefault();
      cell.click();
    }
  }

  function build(prompt, now) {
    const shown = all ? rows : rows.slice(0, FIRST_ROWS);
    const body = h('tbody', {}, shown.map((row, i) => h('tr', { data: { latent: row.latent }, 'aria-rowindex': i + 2 },
      h('th', { scope: 'row', role: 'rowheader', tabindex: i ? -1 : 0, data: { column: 0 } }, latentLink(row.latent, prompt.about(row.latent).label)),
      h('td', { role: 'gridcell', class: 'right', tabindex: -1, data: { column: 1 }, 'aria-label': `latent ${row.latent}, mean layer ${number(row.meanLayer)}` },
        number(row.meanLayer)),
      prompt.layers.map((layer, l) => h('td', {
        role: 'gridcell', class: 'cell', tabindex: -1, data: { column: l + 2, layer, h: step(row.shares[l]), value: row.values[l] },
        'aria-label': row.values[l] > 0 ? `latent ${row.latent}, layer ${layer}: activation ${number(row.values[l])}, ${percent(row.shares[l])} of the largest`
          : `latent ${row.latent}, layer ${layer}: not active`,
      }, row.values[l] > 0 ? number(row.values[l]) : '')))));
    table = h('table', { class: 'data heat', role: 'grid', id: 'heatmap', 'aria-rowcount': rows.length + 1, 'aria-label': 'Activations of latents by layer' },
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Latent'), h('th', { scope: 'col', class: 'right', title: 'Mean layer, weighted by activation at this position' }, 'Mean layer'),
        prompt.layers.map((layer) => h('th', { scope: 'col', class: 'right' }, `Layer ${layer}`)))), body);
    table.addEventListener('keydown', keys);
    const where = (event) => ({ latent: Number(event.target.closest('tr[data-latent]')?.dataset.latent), layer: event.target.closest('td[data-layer]')?.dataset.layer });
    body.addEventListener('click', (event) => {
      const { latent, layer } = where(event);
      if (Number.isNaN(latent)) return;
      state.go(layer === undefined ? { latent } : { latent, layer: Number(layer) });
    });
    body.addEventListener('pointerover', (event) => {
      const { latent, layer } = where(event);
      if (event.pointerType !== 'touch' && !Number.isNaN(latent)) hover(layer === undefined ? { latent } : { latent, layer: Number(layer) });
    });
    body.addEventListener('pointerleave', () => hover());
    fill(box, table);
    fill(more, shown.length < rows.length && button(`Show all ${rows.length} latents`, 'Show the other rows too', () => {
      all = true;
      drawn = '';
      update(session.prompt);
    }));
    const range = now.from === now.to ? `position ${now.from} ${quoted(prompt.tokens[now.from].text)}` : `positions ${now.from} to ${now.to} (largest of each)`;
    facts.textContent = `${plural(rows.length, 'latent')} above ${percent(state.values.threshold)} of the largest activation at ${range}. `
      + 'Number: activation; colour: relative to the largest of any latent there. Click a row to hold its latent, a cell to hold its layer too.';
  }

  function update(prompt) {
    const now = held();
    const labels = [...session.labels].join();
    const key = [prompt.text, now.from, now.to, state.values.threshold, labels].join('\n');
    if (key !== drawn) {
      drawn = key;
      rows = activeLatents(prompt, now.from, now.to, state.values.threshold);
      if (rows.length) build(prompt, now);
      else {
        facts.textContent = '';
        more.replaceChildren();
        fill(box, empty('No latent is above the threshold here. Lower the threshold or choose another position.'));
        table = null;
      }
    }
    const seen = active();
    for (const row of table?.tBodies[0].rows ?? []) {
      const latent = Number(row.dataset.latent);
      mark(row, 'aria-selected', latent === now.latent ? 'true' : null);
      mark(row, 'data-active', latent === seen.latent);
    }
    for (const cell of table?.querySelectorAll('td[data-held]') ?? []) delete cell.dataset.held;
    const mine = table?.querySelector(`tr[data-latent="${now.latent}"] td[data-layer="${now.layer}"]`);
    if (mine) mine.dataset.held = '';
  }

  return {
    element,
    update(prompt) {
      update(prompt);
    },
    shown(prompt) {
      const list = rows.map((row) => ({ latent: row.latent, label: labelOf(row.latent, prompt.about(row.latent).label), mean_layer: row.meanLayer,
        ...Object.fromEntries(prompt.layers.map((layer, l) => [`layer_${layer}`, row.values[l]])) }));
      const { from, to } = held();
      return { name: 'heat-map', rows: list, data: { prompt: prompt.text, positions: [from, to], threshold: state.values.threshold, latents: list } };
    },
  };
}
