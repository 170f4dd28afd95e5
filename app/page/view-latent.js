// The page of a latent: everything that is known of it.

import { post } from './api.js';
import { columns, meter } from './charts.js';
import { button, card, field, fill, h, mark, note, panel, right, select, table } from './dom.js';
import { exampleList, exampleRecords, exampleRow, fetchExamples, windowSelect } from './examples.js';
import { explanationBox } from './explanations.js';
import { count, number, percent, plural } from './format.js';
import { labelEditor } from './labels.js';
import { latentHistograms } from './latent-histograms.js';
import { empty, heading, latentLink, link } from './links.js';
import { scores } from './logits.js';
import { latentDetails, labelOf, layers, session } from './session.js';
import { state } from './state.js';
import { tokenStrip } from './tokens.js';
import { Loader, Work } from './work.js';

const GROUP = 4;

function facts(answer) {
  const items = [
    ['Count', count(answer.count), 'On how many tokens and layers it was active'], ['Density', percent(answer.density), 'On which share of tokens it was active'],
    ['Mean layer', number(answer.mean_layer), 'Mean of the layers, weighted by activation'], ['Std over layers', number(answer.std), 'Small if it is active at one layer only'],
    ['Entropy', number(answer.entropy), 'Entropy of its distribution over layers, in nats'], ['Largest activation', number(answer.max), 'In the texts that were read'],
  ];
  return h('dl', { class: 'facts' }, items.map(([name, value, help]) => h('div', { title: help }, h('dt', {}, name), h('dd', {}, value))));
}

function byLayer(answer) {
  const rows = answer.by_layer;
  if (!rows.length || answer.count === 0) return empty(answer.count === 0 ? 'This latent was never active in the texts that were read.' : 'How this latent is distributed over layers is not known here.');
  return h('div', { class: 'columns' },
    columns(rows.map((row) => row.layer), [{ name: `Latent ${answer.latent}`, values: rows.map((row) => row.share) }], `Share of the summed activation of latent ${answer.latent} by layer`),
    table('by-layer', 'By layer', ['Layer', 'Share', '', 'Count', 'Mean', 'Max'], rows.map((row) => h('tr', { data: { layer: row.layer } }, h('th', { scope: 'row' }, `layer ${row.layer}`),
        right(percent(row.share)), h('td', { class: 'meter-cell' }, meter(row.share)),
        right(count(row.count)), right(number(row.mean)), right(number(row.max))))));
}

function nearest(id, caption, rows) {
  return h('div', { class: 'logits', id }, h('h4', {}, caption), table(null, caption, ['Latent', 'Cosine'], rows.map((row) => h('tr', {}, h('td', {}, latentLink(row.latent, row.label), ' ',
      link('compare', { view: 'compare', what: 'latents', latent_a: state.values.latent ?? 0, latent_b: row.latent }, `Compare with latent ${row.latent}`, { class: 'small' })),
    right(number(row.cosine))))));
}

/** Top, middle and low third of the examples that are kept. */
function quantiles() {
  const loader = new Loader(() => draw());
  const box = h('div', { class: 'stack', id: 'quantiles' });
  let key = '';
  function draw() {
    const groups = loader.get(key);
    if (!groups) return;
    fill(box, groups.total < 3 ? empty('Too few examples are kept to make groups.') : groups.parts.map(({ name, from, to, rows }) => h('div', {},
      h('h4', {}, `${name} third `, h('span', { class: 'quiet small' }, `examples ${from + 1} to ${to} of ${groups.total}`)),
      h('ol', { class: 'examples' }, rows.map(exampleRow)))));
  }
  async function fetchGroups(latent, layer, options) {
    const first = await fetchExamples(latent, { layer, limit: GROUP }, options);
    const { total } = first;
    const cut = [0, Math.ceil(total / 3), Math.ceil((2 * total) / 3), total];
    const parts = [];
    for (const [i, name] of ['Top', 'Middle', 'Low'].entries()) {
      if (total < 3) break;
      const limit = Math.min(GROUP, cut[i + 1] - cut[i]);
      const rows = i === 0 ? first.rows.slice(0, limit) : (await fetchExamples(latent, { layer, offset: cut[i], limit }, options)).rows;
      parts.push({ name, from: cut[i], to: cut[i + 1], rows });
    }
    return { total, parts };
  }
  return {
    element: h('div', {}, loader.element, box),
    update(latent, layer) {
      key = JSON.stringify([latent, layer, state.values.window]);
      if (loader.loadedKey !== key) box.replaceChildren();
      loader.load(key, 'Fetching groups of examples', (options) => fetchGroups(latent, layer, options));
      draw();
    },
  };
}

function tryText(current) {
  const area = h('textarea', { rows: 2, id: 'try', spellcheck: false, title: 'A text of your own' });
  const result = h('div', { class: 'stack', id: 'try-result' });
  const work = new Work();
  async function run() {
    const text = area.value;
    const latent = current();
    state.set({ text });
    const answer = await work.run('Running the model on the text', (options) => post('/activate', { latents: [latent], text }, { view: 'try', ...options }), { retry: run });
    if (!answer) return;
    const values = answer.rows[0].values;
    const top = Math.max(0, ...values.flat());
    fill(result, top === 0 ? empty('The latent is not active anywhere in this text.')
      : note(`Largest activation in this text: ${number(top)}. Colour is relative to it.`),
    top > 0 && layers().map((layer, l) => {
      const strip = tokenStrip({ label: `Activations at layer ${layer}` });
      strip.update({ tokens: answer.tokens, share: (t) => values[l][t] / top, title: (t) => `activation ${number(values[l][t])}` });
      return h('div', { class: 'example', data: { layer } }, h('span', { class: 'example-facts' }, h('b', {}, number(Math.max(...values[l]))),
        h('span', { class: 'quiet small' }, `layer ${layer}`)), strip.element);
    }));
  }
  area.addEventListener('keydown', (event) => event.key === 'Enter' && (event.ctrlKey || event.metaKey) && run());
  return {
    element: card('Try a text',
      note('Type a text of your own to see where this latent is active in it.'),
      h('label', { for: 'try' }, 'Text'), area,
      h('div', { class: 'row' }, button('Run', 'Run the model on this text (Ctrl+Enter)', run, { id: 'try-run', class: 'primary' })), work.element, result),
    update(changed) {
      if ((changed.has('shown') || changed.has('text')) && document.activeElement !== area) area.value = state.values.text;
      if (changed.has('latent') || changed.has('shown')) {
        work.stop();
        result.replaceChildren();
        if (area.value) run();
      }
    },
  };
}

export function latentView() {
  const { sae, data } = session.info;
  const current = () => Math.min(state.values.latent ?? 0, sae.latents - 1);
  const go = (latent) => state.go({ latent: (latent + sae.latents) % sae.latents, on: null });
  const box = h('input', { type: 'number', id: 'latent-number', min: 0, max: sae.latents - 1, step: 1 });
  box.addEventListener('change', () => box.value !== '' && box.checkValidity() && go(Number(box.value)));
  const title = h('h2', {});
  const label = h('div', { class: 'row' });
  const explained = h('div', {});
  const summary = h('div', { class: 'stack' });
  const tokens = h('div', { class: 'stack' });
  const loader = new Loader(() => draw());
  const list = exampleList('latent-examples');
  const groups = quantiles();
  const trial = tryText(current);
  const size = windowSelect('latent-window');
  const on = select([['', 'all layers'], ...layers().map((layer) => [layer, `layer ${layer}`])], '', (value) => state.set({ on: value === '' ? null : Number(value) }),
    { id: 'latent-layer', title: 'The layer whose examples are shown' });
  const steer = h('span', {});
  let drawn = null;

  function draw() {
    const answer = loader.get(current());
    details.hidden = !answer;
    if (!answer || drawn === answer) return;
    drawn = answer;
    fill(label, h('span', { class: 'quiet' }, 'Label:'), labelEditor(answer.latent, answer.label));
    fill(explained, explanationBox(answer.explanation));
    explained.hidden = !explained.firstChild;
    fill(summary, facts(answer), h('h3', {}, 'Distribution over layers'), byLayer(answer), h('h3', {}, 'Sizes of activations'), latentHistograms(answer));
    fill(tokens, h('div', { class: 'columns four' },
      scores(answer.promoted, { id: 'promoted', caption: 'Promoted tokens', note: 'The latent raises their logits.' }),
      scores(answer.suppressed, { id: 'suppressed', caption: 'Suppressed tokens', note: 'The latent lowers their logits.' }),
      h('div', { class: 'stack' }, nearest('nearest-decoder', 'Nearest by decoder', answer.nearest.decoder), nearest('nearest-encoder', 'Nearest by encoder', answer.nearest.encoder)),
      h('div', { class: 'stack' }, scores(answer.embeddings.input, { id: 'embeddings-input', caption: 'Nearest input embeddings', key: 'cosine', name: 'Cosine' }),
        scores(answer.embeddings.output, { id: 'embeddings-output', caption: 'Nearest output embeddings', key: 'cosine', name: 'Cosine' }))));
  }

  const details = h('div', { class: 'stack' },
    panel('Summary', label, explained, summary),
    panel('Directions', h('h2', {}, 'Tokens and similar latents'), tokens));
  const element = h('div', { class: 'view' },
    heading('Latent', 'One latent in detail: at which layers it is active, the texts that activate it most, and the tokens that it makes more or less probable.'),
    panel('Choice of a latent', h('div', { class: 'row bottom' },
      field('Latent', box, `The number of a latent: 0 to ${sae.latents - 1}`),
      button('Previous', 'The latent before this one', () => go(current() - 1), { id: 'previous' }), button('Next', 'The latent after this one', () => go(current() + 1), { id: 'following' }),
      button('Random', 'A latent chosen by chance', () => go(Math.floor(Math.random() * sae.latents)), { id: 'random-latent' }), steer)),
    title, loader.element, details, trial.element,
    card('Examples',
      note('Texts in which this latent is most active. The token of the largest activation is underlined; colour is relative to it.'),
      data.examples === null ? empty('No examples are kept for this autoencoder. Start the app with a folder of examples to see them here.')
        : [h('div', { class: 'row bottom' }, field('Layer', on), field('Window', size)), list.element,
          h('h3', {}, 'By size of activation'), note(`Groups of the examples that are kept (at most ${plural(data.examples, 'example')} a layer, the largest), not of all activations.`),
          groups.element]));

  return {
    element,
    update(changed) {
      const latent = current();
      if (state.values.latent === null) state.set({ latent });
      if (document.activeElement !== box || Number(box.value) !== latent) box.value = latent;
      loader.load(latent, `Fetching latent ${latent}`, (options) => latentDetails(latent, options));
      const answer = loader.get(latent);
      fill(title, `Latent ${latent}`);
      draw();
      mark(details, 'data-latent', latent);
      on.value = state.values.on ?? '';
      size.value = state.values.window;
      fill(steer, link('See it in the prompt', { view: 'prompt', latent }, 'Hold this latent in the view of the prompt'), ' · ',
        link('Steer with it', { view: 'steer', do: `${latent}:add:${Number(((answer?.max ?? 4) || 4).toPrecision(3))}:all:all` }, 'Change the model by this latent'));
      if (data.examples !== null) {
        list.update(latent, state.values.on);
        groups.update(latent, state.values.on);
      }
      trial.update(changed);
    },
    shown() {
      const answer = loader.get(current());
      if (!answer) return null;
      const examples = list.rows();
      return { name: `latent-${answer.latent}`, rows: exampleRecords(examples), data: { ...answer, label: labelOf(answer.latent, answer.label), examples } };
    },
  };
}
