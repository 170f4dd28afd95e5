// Tables of tokens: what the model predicts, and what changes.

import { fill, h, note, right, table } from './dom.js';
import { difference, number, percent, signed, step } from './format.js';

const tokenCell = (row) => h('td', {}, h('span', { class: 'token', title: `token ${row.token}` }, row.text || '∅'));

function listed(id, caption, about, heads, rows) {
  return h('div', { class: 'logits', id }, h('h4', {}, caption), about && note(about), table(null, caption, heads, rows));
}

/** The most probable tokens. */
export function probabilities(rows, { id, caption = 'Most probable', note: about } = {}) {
  const top = Math.max(...rows.map((row) => row.probability), 0) || 1;
  return listed(id, caption, about, ['Token', 'Probability', 'Logit'], rows.map((row) => h('tr', {}, tokenCell(row),
    right(percent(row.probability), { h: step(row.probability / top), value: row.probability }), right(number(row.logit), { value: row.logit }))));
}

/** The tokens whose logit changes most. */
export function changes(rows, { id, caption, note: about } = {}) {
  const top = Math.max(...rows.map((row) => Math.abs(row.change)), 0) || 1;
  return listed(id, caption, about, ['Token', 'Change', 'Before', 'After'], rows.map((row) => h('tr', {}, tokenCell(row),
    right(signed(row.change), { ...difference(row.change / top), value: row.change }), right(number(row.before)), right(number(row.after)))));
}

/** Tokens with a score, such as what a latent promotes. */
export function scores(rows, { id, caption, note: about, key = 'score', name = 'Logit' }) {
  const top = Math.max(...rows.map((row) => Math.abs(row[key])), 0) || 1;
  return listed(id, caption, about, ['Token', name], rows.map((row) => h('tr', {}, tokenCell(row),
    right(key === 'score' ? signed(row[key]) : number(row[key]), { ...difference(row[key] / top), value: row[key] }))));
}

/** Most probable, largest rises and largest falls, side by side. */
export function threeTables(box, id, { max, rises, falls }) {
  return fill(box, h('div', { class: 'columns three' },
    probabilities(max, { id: `${id}-max`, caption: 'Most probable after' }),
    changes(rises, { id: `${id}-rises`, caption: 'Largest rises' }),
    changes(falls, { id: `${id}-falls`, caption: 'Largest falls' })));
}
