// Steer: change latents, and see what the model then predicts and writes.

import { post } from './api.js';
import { button, card, fill, h, note, panel } from './dom.js';
import { number, quoted } from './format.js';
import { generatePanel } from './generate.js';
import { forServer, interventionForm, parseInterventions, writeInterventions } from './interventions.js';
import { empty, heading } from './links.js';
import { changes, probabilities } from './logits.js';
import { placePrompt } from './prompt-box.js';
import { held, session, withId } from './session.js';
import { state } from './state.js';
import { tokenStrip } from './tokens.js';
import { holdPosition } from './view-prompt.js';
import { readPositions, togglePosition } from './view-search.js';
import { Loader } from './work.js';

const TOP = 16;

export function steerView() {
  const slot = h('div', {});
  const list = h('div', { id: 'interventions' });
  const loader = new Loader(() => draw());
  const tables = h('div', { class: 'columns four', id: 'steer-tables' });
  const tablesNote = note();
  const chosen = () => readPositions(state.values.chosen, session.prompt?.length ?? 0);
  let last = null;
  const strip = tokenStrip({ id: 'steer-tokens', label: 'Tokens that are changed', many: true, onHold: (position, event) => {
    const next = togglePosition(chosen(), position, event, last);
    last = position;
    const positions = readPositions(next, session.prompt.length);
    const items = parseInterventions(state.values.do).map((item) => (Array.isArray(item.positions) ? { ...item, positions } : item));
    state.go({ chosen: next, do: writeInterventions(items) });
  } });
  const kl = tokenStrip({ id: 'steer-kl', label: 'KL divergence by position', onHold: holdPosition });
  const klNote = h('p', { class: 'quiet small', id: 'kl-note' });
  const generate = generatePanel();
  const forms = [];

  const items = () => parseInterventions(state.values.do);
  const write = (next) => state.set({ do: writeInterventions(next) });
  const change = (i, patch) => write(items().map((item, j) => (i === j ? { ...item, ...patch } : item)));
  const addButton = button('Add an intervention', 'Change one more latent; it begins with the held latent', () => {
    const { latent } = held();
    const max = session.prompt?.about(latent).max ?? 4;
    state.go({ do: writeInterventions([...items(), { latent, how: 'add', amount: Number(max.toPrecision(3)), layers: 'all', positions: 'all' }]) });
  }, { id: 'add-intervention', class: 'primary' });
  const reset = button('Reset', 'Remove all interventions', () => {
    generate.reset();
    state.go({ do: '', chosen: '' });
  }, { id: 'reset' });

  const result = h('div', { class: 'stack' },
    panel('Change of the prediction', h('h2', {}, 'What the model predicts'), loader.element,
      h('h3', {}, 'Change by position'), klNote, kl.element, tablesNote, tables));
  const element = h('div', { class: 'view' },
    heading('Steer', 'Change how active latents are while the model reads and writes: add a latent, multiply or set its activation, or switch it off. '
      + 'Then compare what the model predicts and generates.'), slot,
    card('Interventions', list, h('div', { class: 'row' }, addButton, reset),
      note('Tokens for “the chosen tokens”: click to choose.'), strip.element),
    result, generate.element);

  const key = () => JSON.stringify([session.prompt.text, forServer(items(), session.prompt.length)]);

  function draw() {
    const { prompt } = session;
    if (!prompt) return;
    const answer = loader.get(key());
    const { position } = held();
    if (!answer) {
      tables.replaceChildren();
      tablesNote.textContent = '';
      klNote.textContent = '';
      kl.element.hidden = true;
      if (forServer(items(), prompt.length).length === 0) {
        fill(tables, empty(items().length ? 'Choose the tokens to change, above.' : 'Add an intervention above to see what it changes.'));
      }
      return;
    }
    kl.element.hidden = false;
    const most = Math.max(...answer.kl, 0);
    klNote.textContent = `KL divergence of the prediction after from that before, in nats; largest ${number(most)}. Click a token to see its tables.`;
    kl.update({ tokens: prompt.tokens, share: (t) => (most > 0 ? answer.kl[t] / most : 0), chosen: (t) => t === position, active: position, title: (t) => `KL ${number(answer.kl[t])} nats` });
    tablesNote.textContent = `After position ${position} ${quoted(prompt.tokens[position].text)}: KL divergence ${number(answer.kl[position])} nats.`;
    fill(tables, probabilities(answer.before[position], { id: 'steer-before', caption: 'Before' }), probabilities(answer.after[position], { id: 'steer-after', caption: 'After' }),
      changes(answer.rises[position], { id: 'steer-rises', caption: 'Largest rises' }), changes(answer.falls[position], { id: 'steer-falls', caption: 'Largest falls' }));
  }

  function drawForms() {
    const now = items();
    while (forms.length > now.length) forms.pop().element.remove();
    while (forms.length < now.length) {
      const i = forms.length;
      const form = interventionForm(i + 1, { onChange: (patch) => change(i, patch), chosen,
        onRemove: () => state.go({ do: writeInterventions(items().filter((_, j) => j !== i)) }) });
      forms.push(form);
      list.append(form.element);
    }
    forms.forEach((form, i) => form.update(now[i]));
    reset.disabled = now.length === 0;
  }

  return {
    element,
    update() {
      placePrompt(slot);
      const { prompt } = session;
      drawForms();
      result.hidden = !prompt;
      if (!prompt) return;
      const picked = new Set(chosen());
      strip.update({ tokens: prompt.tokens, chosen: (t) => picked.has(t), title: () => 'click to choose' });
      const sent = forServer(items(), prompt.length);
      if (sent.length === 0) loader.reset();
      else {
        loader.load(key(), 'Running the model before and after', (options) => withId(prompt,
          (id) => post('/steer', { id, interventions: sent, top: TOP }, { view: 'steer', ...options }), options));
      }
      draw();
      generate.update();
    },
    shown() {
      const { prompt } = session;
      const answer = prompt && loader.get(key());
      const { position } = held();
      const texts = generate.texts();
      const rows = answer ? ['before', 'after', 'rises', 'falls'].flatMap((name) => answer[name][position].map((row) => ({ table: name, ...row }))) : [];
      return { name: 'steer', rows, data: { prompt: prompt?.text, interventions: items(), position, ...(answer ?? {}), generated: texts } };
    },
  };
}
