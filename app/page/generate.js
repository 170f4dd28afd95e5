// Text that the model writes, as it is and steered, side by side as it comes.

import { isAbort, lines } from './api.js';
import { announce, button, card, field, fill, h, note } from './dom.js';
import { plural } from './format.js';
import { forServer, parseInterventions } from './interventions.js';
import { promptText, session } from './session.js';
import { state } from './state.js';
import { errorBox } from './work.js';

const SIDES = [['plain', 'As the model is'], ['steered', 'Steered']];

export function generatePanel() {
  const { limits } = session.info;
  const box = (key, title, help, attributes) => {
    const input = h('input', { type: 'number', id: `generate-${key}`, ...attributes });
    input.addEventListener('change', () => {
      if (input.checkValidity() && (input.value !== '' || key === 'top_k')) state.set({ [key]: input.value === '' ? null : Number(input.value) });
      else input.value = state.values[key] ?? '';
    });
    return { key, input, element: field(title, input, help) };
  };
  const boxes = [
    box('tokens', 'Tokens', `How many tokens to write: 1 to ${limits.generate_tokens}`, { min: 1, max: limits.generate_tokens, step: 1 }),
    box('temperature', 'Temperature', '0 takes the most probable token each time; 1 draws by the model’s probabilities', { min: 0, max: 5, step: 0.1 }),
    box('top_k', 'Top-k', 'Draw among this many most probable tokens; empty for all', { min: 1, step: 1, placeholder: 'all' }),
    box('seed', 'Seed', 'The same seed draws the same text', { min: 0, step: 1 }),
  ];
  const start = button('Generate', 'Write text, as the model is and steered', run, { id: 'generate', class: 'primary' });
  const stop = button('Stop', 'Stop writing and keep what is there', () => controller?.abort(), { id: 'stop', disabled: true });
  const clear = button('Clear', 'Remove the text', () => reset(), { id: 'generate-clear' });
  const status = h('p', { class: 'quiet small', id: 'generate-status' });
  const errors = h('div', {});
  const panes = Object.fromEntries(SIDES.map(([side, title]) => [side, {
    text: '', given: h('span', { class: 'given' }), added: h('span', { 'data-generated': side }), title,
  }]));
  let controller = null;

  const element = card('Generate',
    note('The model continues the prompt twice: as it is, and with the interventions above. At “the last position” the newest token is changed each time.'),
    h('div', { class: 'row bottom narrow' }, boxes.map(({ element: one }) => one), start, stop, clear), errors, status,
    h('div', { class: 'columns' }, SIDES.map(([side, title]) => h('div', { class: 'logits' }, h('h4', {}, title),
      h('div', { class: 'output', id: `output-${side}`, tabindex: 0, role: 'region', 'aria-label': `${title}: generated text` }, panes[side].given, panes[side].added)))));

  function reset() {
    controller?.abort();
    errors.replaceChildren();
    status.textContent = '';
    for (const pane of Object.values(panes)) {
      pane.text = '';
      fill(pane.given);
      fill(pane.added);
    }
  }

  async function run() {
    reset();
    const mine = new AbortController();
    controller = mine;
    const { tokens, temperature, top_k: topK, seed } = state.values;
    const prompt = document.getElementById('prompt')?.value || promptText();
    const interventions = forServer(parseInterventions(state.values.do), session.prompt?.text === prompt ? session.prompt.length : Infinity);
    const body = { prompt, interventions, tokens: Math.min(tokens, limits.generate_tokens), temperature, top_k: topK, seed, compare: true };
    for (const pane of Object.values(panes)) fill(pane.given, prompt);
    start.disabled = true;
    stop.disabled = false;
    const began = performance.now();
    let written = 0;
    let waiting = false;
    const tick = () => {
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      status.textContent = `${waiting && !written ? 'Waiting for other requests' : 'Writing'} … ${plural(written, 'token')}, ${seconds} s`;
    };
    tick();
    const timer = setInterval(tick, 100);
    announce('Generating …');
    let end = 'Done';
    try {
      for await (const item of lines('/generate', body, { view: 'generate', signal: mine.signal, onWait: () => { waiting = true; } })) {
        const pane = panes[item.side];
        if (!pane || item.done) continue;
        pane.text += item.text;
        pane.added.append(item.text);
        written += 1;
      }
    } catch (error) {
      if (mine !== controller) return;
      end = 'Stopped';
      if (!isAbort(error)) fill(errors, errorBox(error));
    } finally {
      clearInterval(timer);
      if (mine === controller) {
        controller = null;
        start.disabled = false;
        stop.disabled = true;
        if (written || end !== 'Done') status.textContent = `${end}: ${plural(written, 'token')} in ${((performance.now() - began) / 1000).toFixed(1)} s.`;
        announce(status.textContent);
      }
    }
  }

  return {
    element,
    reset,
    update() {
      for (const { key, input } of boxes) if (document.activeElement !== input) input.value = state.values[key] ?? '';
    },
    texts: () => Object.fromEntries(SIDES.map(([side]) => [side, panes[side].text])),
  };
}
