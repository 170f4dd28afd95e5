// Interventions: what is changed in the model, in the state, for the server, and as a form.

import { button, field, fill, h, note, select } from './dom.js';
import { number } from './format.js';
import { latentLink } from './links.js';
import { latentDetails, layers, session } from './session.js';
import { slider } from './slider.js';

export const WAYS = {
  add: ['add activation', 'Adds this much activation of the latent'],
  add_column: ['add direction', 'Adds this many times the decoder column as it is'],
  scale: ['multiply', 'Multiplies the activation that the latent has'],
  set: ['set to', 'Makes the activation this large wherever it applies'],
  ablate: ['switch off', 'Makes the activation 0'],
};

/** From `latent:how:amount:layers:positions;…` of the state. What does not parse is left out. */
export function parseInterventions(text) {
  const found = [];
  for (const part of text.split(';')) {
    const [latent, how, amount, place, positions] = part.split(':');
    if (!/^\d+$/.test(latent ?? '') || !Object.hasOwn(WAYS, how)) continue;
    const layer = /^(only|from)(\d+)$/.exec(place ?? '');
    found.push({
      latent: Number(latent), how, amount: Number.isFinite(Number(amount)) ? Number(amount) : 0,
      layers: layer ? { [layer[1]]: Number(layer[2]) } : 'all',
      positions: positions === 'last' ? 'last' : /^\d/.test(positions ?? '') ? positions.split('.').map(Number).filter(Number.isInteger) : positions === 'these' ? [] : 'all',
    });
  }
  return found;
}

export function writeInterventions(list) {
  return list.map(({ latent, how, amount, layers: place, positions }) => [latent, how, amount,
    place === 'all' ? 'all' : `${Object.keys(place)[0]}${Object.values(place)[0]}`,
    Array.isArray(positions) ? positions.join('.') || 'these' : positions].join(':')).join(';');
}

/** As the server wants them; one that applies nowhere is left out. */
export function forServer(list, length = Infinity) {
  const sent = [];
  for (const { latent, how, amount, layers: place, positions } of list) {
    const where = Array.isArray(positions) ? positions.filter((t) => t < length) : positions;
    if (Array.isArray(where) && where.length === 0) continue;
    sent.push({ latent, layers: place, how, ...(how === 'ablate' ? {} : { amount }), positions: where });
  }
  return sent;
}

/** The range of the slider: in units of the latent's largest activation where activations are meant. */
function limits(how, max) {
  if (how === 'add_column') return [-10, 10, 0.5];
  if (how === 'scale') return [-2, 10, 0.1];
  const scale = max > 0 ? max : 10;
  const step = Number((scale / 20).toPrecision(1));
  return [how === 'set' ? 0 : -Math.ceil((2 * scale) / step) * step, Math.ceil((2 * scale) / step) * step, step];
}

/** The form of one intervention. `onChange(patch)` and `onRemove()` are called by its controls. */
export function interventionForm(number_, { onChange, onRemove, chosen }) {
  const { sae } = session.info;
  const latent = h('input', { type: 'number', min: 0, max: sae.latents - 1, step: 1, data: { field: 'latent' } });
  latent.addEventListener('change', () => latent.value !== '' && latent.checkValidity() && onChange({ latent: Number(latent.value) }));
  const how = select(Object.entries(WAYS).map(([key, [title]]) => [key, title]), 'add', (value) => {
    const amount = { scale: 2, add_column: 1 }[value] ?? natural();
    onChange({ how: value, amount });
  }, { 'data-field': 'how' });
  const amount = slider({ label: 'Amount', help: 'How much; the slider goes to twice the largest activation of the latent', min: -10, max: 10, step: 0.5, wait: 250, free: true,
    onInput: (value) => onChange({ amount: value }) });
  const place = select([['all', 'all layers'], ...layers().map((layer) => [`only${layer}`, `only layer ${layer}`]), ...layers().slice(1).map((layer) => [`from${layer}`, `from layer ${layer} on`])],
    'all', (value) => onChange({ layers: value === 'all' ? 'all' : { [value.slice(0, 4)]: Number(value.slice(4)) } }), { 'data-field': 'layers' });
  const where = select([['all', 'all positions'], ['last', 'the last position'], ['these', 'the chosen tokens']], 'all', (value) => onChange({ positions: value === 'these' ? chosen() : value }),
    { 'data-field': 'positions' });
  const remove = button('Remove', `Remove intervention ${number_}`, onRemove, { 'aria-label': `Remove intervention ${number_}` });
  const about = note();
  const amountBox = amount.element;
  const element = h('div', { class: 'intervention', role: 'group', 'aria-label': `Intervention ${number_}`, data: { intervention: number_ } },
    field('Latent', latent, `The latent that is changed: 0 to ${sae.latents - 1}`), field('How', how, 'What is done to its activation'), amountBox,
    field('Layers', place, 'Where in the model'), field('Positions', where, 'At which tokens'), remove, about);
  let largest = null;
  let known = null;
  const here = () => (session.prompt ? Math.max(0, ...session.prompt.values(Number(latent.value) || 0)) : 0);
  const natural = () => Number((largest || here() || 4).toPrecision(3));

  return {
    element,
    update(item) {
      if (document.activeElement !== latent) latent.value = item.latent;
      how.value = item.how;
      place.value = item.layers === 'all' ? 'all' : `${Object.keys(item.layers)[0]}${Object.values(item.layers)[0]}`;
      where.value = Array.isArray(item.positions) ? 'these' : item.positions;
      how.title = WAYS[item.how][1];
      if (known !== item.latent) {
        known = item.latent;
        largest = session.prompt?.about(item.latent).max ?? null;
        latentDetails(item.latent).then((answer) => {
          if (known !== item.latent) return;
          largest = answer.max ?? largest;
          scale(item);
        }, () => {});
      }
      scale(item);
      amountBox.classList.toggle('unused', item.how === 'ablate');
    },
  };

  function scale(item) {
    amount.limits(...limits(item.how, largest ?? here()));
    amount.set(item.amount);
    fill(about, latentLink(item.latent, session.prompt?.about(item.latent).label),
      ` · largest activation ${largest === null ? 'unknown' : number(largest)}, in this prompt ${number(here())}. ${WAYS[item.how][1]}.`,
      Array.isArray(item.positions) ? ` Positions: ${item.positions.join(', ') || 'none yet; choose tokens below'}.` : '');
  }
}
