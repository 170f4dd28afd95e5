// Tab Logits: the model's own prediction, that from a reconstruction, and that after steering by the held latent.

import { post } from './api.js';
import { fill, h, note } from './dom.js';
import { number, quoted } from './format.js';
import { empty } from './links.js';
import { probabilities, threeTables } from './logits.js';
import { active, held, session, withId } from './session.js';
import { state } from './state.js';
import { Loader } from './work.js';

const TOP = 16;

export function logitsTab() {
  const input = h('div', { id: 'logits-input' });
  const reconstruction = h('div', { id: 'logits-reconstruction' });
  const steered = h('div', { id: 'logits-steered' });
  const titles = { input: note(), reconstruction: note(), steered: note() };
  const loaders = { reconstruction: new Loader(() => draw()), steered: new Loader(() => draw()) };
  const element = h('div', { class: 'stack' },
    h('section', {}, h('h3', {}, 'Input'), titles.input, input),
    h('section', {}, h('h3', {}, 'Reconstruction'), titles.reconstruction, loaders.reconstruction.element, reconstruction),
    h('section', {}, h('h3', {}, 'Steered'), titles.steered, loaders.steered.element, steered));

  const keys = (now) => ({
    reconstruction: JSON.stringify([session.prompt.text, now.layer]),
    steered: JSON.stringify([session.prompt.text, now.layer, now.latent, state.values.factor]),
  });
  const at = (answer, t) => ({ max: (answer.max ?? answer.after)[t], rises: answer.rises[t], falls: answer.falls[t] });

  function draw() {
    const { prompt } = session;
    if (!prompt) return;
    const now = held();
    const seen = active().position;
    const { factor } = state.values;
    const place = `position ${now.position} ${quoted(prompt.tokens[now.position].text)}`;
    titles.input.textContent = `The ${TOP} largest logits after position ${seen} ${quoted(prompt.tokens[seen].text)}, as the model is.`;
    fill(input, h('div', { class: 'columns three' }, probabilities(prompt.next[seen], { id: 'logits-input-max' })));
    for (const [name, box] of [['reconstruction', reconstruction], ['steered', steered]]) {
      const answer = loaders[name].get(keys(now)[name]);
      const kl = answer ? ` KL divergence there: ${number(answer.kl[now.position])} nats.` : '';
      titles[name].textContent = name === 'reconstruction'
        ? `The residual stream at layer ${now.layer} is replaced by the autoencoder's reconstruction, at every position. Shown at ${place}.${kl}`
        : `${number(factor)} times the direction of latent ${now.latent} is added at layer ${now.layer}, at every position. Shown at ${place}.${kl}`;
      if (answer) threeTables(box, `logits-${name}`, at(answer, now.position));
      else box.replaceChildren();
    }
    if (factor === 0) {
      titles.steered.textContent = '';
      fill(steered, empty(`Set a steering factor other than 0 to add the direction of latent ${now.latent} at layer ${now.layer}.`));
    }
  }

  return {
    element,
    update(prompt) {
      const now = held();
      const key = keys(now);
      loaders.reconstruction.load(key.reconstruction, 'Running the model on the reconstruction', (options) => withId(prompt,
        (id) => post('/logits', { id, layer: now.layer, what: 'reconstruction', top: TOP }, { view: 'reconstruction', ...options }), options));
      if (state.values.factor === 0) loaders.steered.reset();
      else {
        const intervention = { latent: now.latent, layers: { only: now.layer }, how: 'add_column', amount: state.values.factor, positions: 'all' };
        loaders.steered.load(key.steered, 'Running the model with the latent added', (options) => withId(prompt,
          (id) => post('/steer', { id, interventions: [intervention], top: TOP }, { view: 'steered', ...options }), options));
      }
      draw();
    },
    shown(prompt) {
      const now = held();
      const key = keys(now);
      const parts = { input: prompt.next[active().position] };
      for (const name of ['reconstruction', 'steered']) {
        const answer = loaders[name].get(key[name]);
        if (answer) parts[name] = at(answer, now.position);
      }
      const rows = parts.input.map((row) => ({ table: 'input max', ...row }));
      for (const name of ['reconstruction', 'steered']) {
        for (const [kind, list] of Object.entries(parts[name] ?? {})) rows.push(...list.map((row) => ({ table: `${name} ${kind}`, ...row })));
      }
      return { name: 'logits', rows, data: { prompt: prompt.text, ...now, factor: state.values.factor, ...parts } };
    },
  };
}
