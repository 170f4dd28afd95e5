// Links inside the page: real addresses, followed without a new load.

import { h } from './dom.js';
import { nameOf } from './explanations.js';
import { state } from './state.js';

export function link(text, patch, title, attributes = {}) {
  const element = h('a', { href: state.link(patch), title, ...attributes }, text);
  const refresh = () => { element.href = state.link(patch); };
  element.addEventListener('pointerenter', refresh);
  element.addEventListener('focus', refresh);
  element.addEventListener('click', (event) => {
    event.stopPropagation();
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    state.go(patch);
  });
  return element;
}

/** The number of a latent, which opens its page, with its label if it has one, else with its explanation; `whole` cuts neither. */
export function latentLink(latent, knownLabel, { label = true, whole = false } = {}) {
  const name = nameOf(latent, knownLabel);
  const kind = ['label', !name?.own && 'explained', whole && 'whole'].filter(Boolean).join(' ');
  return h('span', { class: 'latent-link' },
    link(String(latent), { view: 'latent', latent, on: null }, name ? `Open latent ${latent}: ${name.text}` : `Open latent ${latent}`, { 'data-latent': latent }),
    label && name ? h('span', { class: kind, dir: 'auto', title: name.own ? name.text : `Explanation: ${name.text}` }, name.text) : null);
}

/** What every view begins with: its name and a sentence. */
export function heading(title, ...intro) {
  return h('div', { class: 'heading' }, h('h1', {}, title), h('p', { class: 'intro' }, intro));
}

/** What to do where there is nothing to see. */
export const empty = (...text) => h('p', { class: 'empty' }, text);
