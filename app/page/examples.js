// Examples of a latent: texts in which it is most active, with pages and a choice of window.

import { get } from './api.js';
import { button, fill, h, select } from './dom.js';
import { number, plural } from './format.js';
import { session } from './session.js';
import { state } from './state.js';
import { readTokens } from './tokens.js';
import { Loader, Work } from './work.js';

export const PAGE = 12;

/** The lengths to choose from; other than what was kept only if the texts are there. */
export function windowSelect(id) {
  const sizes = session.info.data.texts ? ['8', '16', '32', '64'] : [];
  return select([['', 'as kept'], ...sizes.map((size) => [size, `${size} tokens each side`])], state.values.window,
    (window) => state.set({ window }), { id, title: 'How much text to show around each example', disabled: sizes.length === 0 });
}

export function fetchExamples(latent, { layer, offset = 0, limit = PAGE }, options) {
  return get(`/latents/${latent}/examples`, { layer, offset, limit, window: state.values.window || null }, options);
}

/** One example: where it is from, and its tokens. */
export function exampleRow(row) {
  return h('li', { class: 'example', data: { layer: row.layer } },
    h('span', { class: 'example-facts', title: `context ${row.context}, position ${row.position}` },
      h('b', { data: { value: row.activation } }, number(row.activation)), h('span', { class: 'quiet small' }, `layer ${row.layer}`)),
    readTokens(row.tokens, row.activations, row.activation, row.peak));
}

/** A list that grows by a button. `update(latent, layer or null)`. */
export function exampleList(id) {
  const list = h('ol', { class: 'examples', id });
  const foot = h('div', { class: 'row' });
  const more = new Work();
  const loader = new Loader(() => draw());
  let key = '';
  let rows = [];

  function draw() {
    const answer = loader.get(key);
    if (!answer) return;
    rows = [...answer.rows];
    fill(list, rows.map(exampleRow));
    footer(answer.total);
  }

  function footer(total) {
    const [latent, layer] = JSON.parse(key);
    if (total === 0) {
      fill(foot, h('p', { class: 'empty' }, layer === null ? 'No example of this latent is kept: it was not active in the texts that were read.'
        : `No example of this latent is kept at layer ${layer}. Choose all layers, or another layer.`));
      return;
    }
    fill(foot, h('span', { class: 'quiet small' }, `${rows.length} of ${plural(total, 'example')}, largest activation first`),
      rows.length < total && button('Show more', 'Fetch the next examples', async () => {
        const at = key;
        const answer = await more.run('Fetching examples', (options) => fetchExamples(latent, { layer, offset: rows.length }, options));
        if (!answer || at !== key) return;
        rows.push(...answer.rows);
        list.append(...answer.rows.map(exampleRow));
        footer(answer.rows.length ? answer.total : rows.length);
      }));
  }

  return {
    element: h('div', {}, loader.element, list, foot, more.element),
    update(latent, layer) {
      const next = JSON.stringify([latent, layer, state.values.window]);
      if (next === key) return;
      key = next;
      more.stop();
      foot.replaceChildren();
      if (loader.loadedKey !== key) list.replaceChildren();
      loader.load(key, 'Fetching examples', (options) => fetchExamples(latent, { layer }, options));
      draw();
    },
    rows: () => rows,
  };
}

/** Rows of a table for export. */
export const exampleRecords = (rows) => rows.map(({ layer, activation, context, position, tokens }) => ({ layer, activation, context, position, tokens }));
