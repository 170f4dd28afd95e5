// The view of a prompt: tokens, the map of a latent, what the model predicts, and four tabs.

import { button, card, field, fill, h, mark, note, panel } from './dom.js';
import { meter } from './charts.js';
import { number, percent, quoted } from './format.js';
import { latentLink, heading } from './links.js';
import { probabilities } from './logits.js';
import { layerMap } from './map.js';
import { placePrompt } from './prompt-box.js';
import { active, held, hover, layerIndex, layers, session } from './session.js';
import { slider } from './slider.js';
import { state } from './state.js';
import { examplesTab } from './tab-examples.js';
import { heatMapTab } from './tab-heatmap.js';
import { histogramsTab } from './tab-histograms.js';
import { logitsTab } from './tab-logits.js';
import { tabList } from './tabs.js';
import { tokenStrip } from './tokens.js';

/** Holds a position; with shift, the range up to it. */
export function holdPosition(position, event) {
  if (event?.shiftKey) state.go({ position: held().position, to: position });
  else state.go({ position, to: null });
}

function controls() {
  const { latents } = session.info.sae;
  const layer = h('select', { id: 'layer', on: { change: () => state.go({ layer: Number(layer.value) }) } },
    layers().map((number) => h('option', { value: number }, String(number))));
  const whole = (id, key, max) => {
    const box = h('input', { type: 'number', id, min: 0, max, step: 1, inputmode: 'numeric' });
    box.addEventListener('change', () => {
      if (box.value !== '' && box.checkValidity()) state.go({ [key]: Number(box.value), ...(key === 'position' ? { to: null } : {}) });
      mark(box, 'aria-invalid', box.checkValidity() ? null : 'true');
    });
    return box;
  };
  const latent = whole('latent', 'latent', latents - 1);
  const position = whole('position', 'position', null);
  const strongest = button('Strongest', 'Take the latent that is most active at the held layer and position', () => {
    state.go({ latent: null });
  }, { id: 'strongest' });
  const threshold = slider({ id: 'threshold', label: 'Threshold', min: 0, max: 0.95, step: 0.05, wait: 60,
    help: 'The heat map shows latents whose activation is above this share of the largest there',
    onInput: (value) => state.set({ threshold: value }) });
  const factor = slider({ id: 'factor', label: 'Steering factor', min: -10, max: 10, step: 0.5, wait: 300,
    help: 'How many times the direction of the held latent is added at the held layer (tab Logits, table Steered)',
    onInput: (value) => state.set({ factor: value }) });
  const name = h('p', { class: 'quiet small', id: 'held-latent' });
  const element = h('section', { class: 'card controls', 'aria-label': 'Controls' },
    field('Layer', layer, 'The layer that is held'),
    field('Latent', latent, `The latent that is held: 0 to ${latents - 1}`, strongest),
    field('Position', position, 'The position that is held: 0 is the first token'),
    threshold.element, factor.element, name);
  return {
    element,
    update(prompt) {
      const now = held();
      const set = (box, value) => {
        if (document.activeElement === box && box.value !== '' && Number(box.value) === value) return;
        box.value = value;
        mark(box, 'aria-invalid', null);
      };
      set(layer, now.layer);
      set(latent, now.latent);
      set(position, now.position);
      position.max = prompt.length - 1;
      threshold.set(state.values.threshold);
      factor.set(state.values.factor);
      mark(strongest, 'aria-pressed', String(state.values.latent === null));
      const { density, max } = prompt.about(now.latent);
      fill(name, 'Held latent: ', latentLink(now.latent, prompt.about(now.latent).label, { whole: true }),
        density != null ? ` · active on ${percent(density)} of tokens` : '', max != null ? ` · largest known activation ${number(max)}` : '');
    },
  };
}

export function promptView() {
  const slot = h('div', {});
  const control = controls();
  const strip = tokenStrip({ id: 'tokens', label: 'Tokens of the prompt', onHold: holdPosition,
    onHover: (position) => hover(position === null ? {} : { position }) });
  const facts = h('p', { class: 'quiet small', id: 'loss' });
  const map = layerMap({
    id: 'map',
    onHold: (l, t) => state.go({ layer: layers()[l], position: t, to: null }),
    onHover: (l, t) => hover(l === undefined ? {} : { layer: layers()[l], position: t }),
  });
  const mapTitle = h('h2', {}, '');
  const fvu = h('div', { id: 'fvu' });
  const next = h('div', { id: 'next' });
  const tabs = { histograms: histogramsTab(), heatmaps: heatMapTab(), examples: examplesTab(), logits: logitsTab() };
  const list = tabList('What to look at', [
    { id: 'histograms', title: 'Histograms', help: 'How the activations are distributed, by layer', element: tabs.histograms.element },
    { id: 'heatmaps', title: 'Heat maps', help: 'All active latents at the held position, by layer', element: tabs.heatmaps.element },
    { id: 'examples', title: 'Examples', help: 'Texts that activate the latent most', element: tabs.examples.element },
    { id: 'logits', title: 'Logits', help: 'What the model predicts from the input, the reconstruction and after steering', element: tabs.logits.element },
  ], (tab) => state.go({ tab }));
  const body = h('div', { class: 'stack' },
    control.element,
    card('Tokens',
      note('Colour: activation of the latent at the layer. Click a token to hold it, Shift+click for a range.'), strip.element, facts),
    h('div', { class: 'columns map-columns' },
      panel('Map of the latent', mapTitle, map.element, h('h3', {}, 'Error of the reconstruction'), fvu),
      panel('Next token', next)),
    panel('Details', list.element));
  const element = h('div', { class: 'view' },
    heading('Prompt', 'A latent is a direction that the autoencoder found in the model; it is active on some tokens, at some layers. '
      + 'Submit a text, then click tokens, layers and latents to see what each does.'), slot, body);

  const tab = () => (Object.hasOwn(tabs, state.values.tab) ? state.values.tab : 'histograms');

  function drawFvu(prompt, now) {
    fill(fvu, note('FVU: the fraction of variance that the codes leave unexplained; 0 is perfect.'),
      h('table', { class: 'plain' }, h('caption', { class: 'hidden-text' }, 'FVU by layer'), h('tbody', {}, prompt.layers.map((layer, l) => {
        const choose = button(`layer ${layer}`, `Hold layer ${layer}`, () => state.go({ layer }), { class: 'text' });
        return h('tr', { class: layer === now.layer ? 'held' : null, data: { layer } }, h('th', { scope: 'row' }, choose),
          h('td', { class: 'wide' }, meter(prompt.fvu[l])), h('td', { class: 'right', data: { value: prompt.fvu[l] } }, number(prompt.fvu[l])));
      }))));
  }

  return {
    element,
    update(changed) {
      placePrompt(slot);
      const { prompt } = session;
      body.hidden = !prompt;
      if (!prompt) return;
      const now = active();
      const keep = held();
      const l = layerIndex(now.layer);
      control.update(prompt);
      strip.update({
        tokens: prompt.tokens,
        share: (t) => prompt.relative(l, t, now.latent),
        chosen: (t) => t >= keep.from && t <= keep.to,
        active: now.position,
        title: (t) => `activation ${number(prompt.value(l, t, now.latent))}${prompt.losses[t] == null ? '' : `, loss ${number(prompt.losses[t])}`}`,
      });
      facts.textContent = prompt.loss == null ? 'Loss: needs at least two tokens.'
        : `Loss: ${number(prompt.loss)} nats per token (mean over tokens 1 to ${prompt.length - 1}).`;
      const values = prompt.values(now.latent);
      fill(mapTitle, `Latent ${now.latent} at every layer and position`);
      map.update({
        layers: prompt.layers, tokens: prompt.tokens, name: `Latent ${now.latent}`,
        value: (i, t) => values[i * prompt.length + t],
        share: (i, t) => (prompt.max[i][t] > 0 ? values[i * prompt.length + t] / prompt.max[i][t] : 0),
        held: [layerIndex(keep.layer), keep.position], active: [l, now.position],
      });
      drawFvu(prompt, now);
      fill(next, probabilities(prompt.next[now.position], { id: 'next-table', caption: 'Next token',
        note: `What the model predicts after position ${now.position} ${quoted(prompt.tokens[now.position].text)}.` }));
      list.choose(tab());
      tabs[tab()].update(prompt, changed);
    },
    leave: () => hover(),
    shown() {
      const { prompt } = session;
      return prompt && tabs[tab()].shown(prompt);
    },
  };
}
