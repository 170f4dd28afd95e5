// Starts the page: facts from the server, the navigation, the views, and keys.

import { get } from './api.js';
import { onTheme, themeChanged } from './colours.js';
import { announce, button, fill, h, isTyping, mark } from './dom.js';
import { copyLink, saveCsv, saveJson } from './export.js';
import { count } from './format.js';
import { onHover, session } from './session.js';
import { onPrompt } from './prompt-box.js';
import { state } from './state.js';
import { Work, errorBox } from './work.js';
import { compareView } from './view-compare.js';
import { latentView } from './view-latent.js';
import { latentsView } from './view-latents.js';
import { promptView } from './view-prompt.js';
import { searchView } from './view-search.js';
import { steerView } from './view-steer.js';

const VIEWS = [
  ['prompt', 'Prompt', 'What the latents do on a text', promptView],
  ['latents', 'Latents', 'The list of all latents', latentsView],
  ['latent', 'Latent', 'One latent in detail', latentView],
  ['search', 'Search by activation', 'Which latents are active on some tokens', searchView],
  ['steer', 'Steer', 'Change latents and see what the model predicts', steerView],
  ['compare', 'Compare', 'Two prompts or two latents side by side', compareView],
];

const element = (id) => document.getElementById(id);
const made = new Map();
const work = new Work();
let current = null;

function view(id) {
  if (!made.has(id)) {
    const build = (VIEWS.find(([name]) => name === id) ?? VIEWS[0])[3];
    const one = build();
    one.element.id = `view-${id}`;
    one.element.hidden = true;
    element('views').append(one.element);
    made.set(id, one);
  }
  return made.get(id);
}

const pending = new Set();
let frame = 0; // of the next drawing of what the pointer previews
let soon = false;

/** Brings the view up to date: at once, or with the next picture if only the pointer has moved. */
function schedule(changed) {
  for (const key of changed) pending.add(key);
  if (pending.size === 1 && pending.has('hover')) {
    frame ||= requestAnimationFrame(render);
  } else if (!soon) {
    soon = true;
    queueMicrotask(render);
  }
}

function render() {
  cancelAnimationFrame(frame);
  frame = 0;
  soon = false;
  if (!session.info || pending.size === 0) return;
  const id = VIEWS.some(([name]) => name === state.values.view) ? state.values.view : 'prompt';
  const next = view(id);
  const changed = new Set(pending);
  pending.clear();
  if (next !== current) {
    if (current) current.element.hidden = true;
    current?.leave?.();
    next.element.hidden = false;
    current = next;
    changed.add('shown');
    for (const link of element('nav').children) mark(link, 'aria-current', link.dataset.view === id ? 'page' : null);
    document.title = `${VIEWS.find(([name]) => name === id)[1]} · eigenlens`;
    window.scrollTo(0, 0);
  }
  document.documentElement.classList.toggle('embed', state.values.embed);
  try {
    next.update(changed);
  } catch (error) {
    console.error(error);
    fill(element('notice'), errorBox(error));
  }
}

function navigation() {
  fill(element('nav'), VIEWS.map(([id, title, help]) => {
    const link = h('a', { href: state.link({ view: id }), title: help, data: { view: id } }, title);
    link.addEventListener('pointerenter', () => { link.href = state.link({ view: id }); });
    link.addEventListener('focus', () => { link.href = state.link({ view: id }); });
    link.addEventListener('click', (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      state.go({ view: id });
    });
    return link;
  }));
  const theme = h('select', { id: 'theme', title: 'Light or dark colours', 'aria-label': 'Colours', on: { change: () => {
    window.eigenlens.setTheme(theme.value);
    themeChanged();
  } } }, [['auto', 'System'], ['light', 'Light'], ['dark', 'Dark']].map(([value, text]) => h('option', { value }, text)));
  theme.value = window.eigenlens.theme();
  // A view says false if what it needs was cancelled or failed, which is told where it happened.
  const saved = async (save) => {
    const shown = await current?.shown?.();
    if (shown !== false) save(shown);
  };
  fill(element('tools'),
    button('Copy link', 'Copy a link to what is shown', (event) => copyLink(event.currentTarget), { id: 'copy-link' }),
    button('JSON', 'Save what is shown as JSON', () => saved(saveJson), { id: 'save-json' }),
    button('CSV', 'Save what is shown as a table (CSV)', () => saved(saveCsv), { id: 'save-csv' }),
    theme,
    button('?', 'Help and keys', () => element('help').showModal(), { id: 'help-open', 'aria-label': 'Help' }));
}

function goTo() {
  element('go-latent').value = '';
  element('go').showModal();
  element('go-latent').focus();
}

function keys() {
  document.addEventListener('keydown', (event) => {
    if (isTyping(event) || !session.info || document.querySelector('dialog[open]')) return;
    if (event.key === '/') {
      event.preventDefault();
      state.go({ view: 'latents' });
      render();
      element('search').focus();
    } else if (event.key === 'g') {
      event.preventDefault();
      goTo();
    } else if (event.key === '?') {
      event.preventDefault();
      element('help').showModal();
    }
  });
  element('skip').addEventListener('click', (event) => {
    event.preventDefault();
    element('main').focus();
  });
  element('go-cancel').addEventListener('click', () => element('go').close());
  element('go-form').addEventListener('submit', () => {
    state.go({ view: 'latent', latent: Number(element('go-latent').value), on: null });
  });
  for (const dialog of document.querySelectorAll('dialog')) {
    dialog.addEventListener('click', (event) => event.target === dialog && dialog.close());
  }
}

/** What to do if the server does not know this page. */
function askForLink() {
  if (element('token')) return;
  const input = h('input', { id: 'token', type: 'password', autocomplete: 'off', title: 'The link that the command or the cell printed' });
  const form = h('form', { class: 'card', id: 'no-token' },
    h('h2', {}, 'Open the link that the app printed'),
    h('p', {}, 'This page works only with the link that the command ', h('code', {}, 'eigenlens app'),
      ' or the cell of the notebook printed: the one with ', h('code', {}, '#token='),
      ' in it. A new start of the app prints a new link; the old one then stops working.'),
    h('label', { for: 'token' }, 'Or paste that link here, to keep what you have open'),
    h('div', { class: 'row' }, input, h('button', { class: 'primary', title: 'Use this link' }, 'Continue')));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const text = input.value.trim();
    const token = /token=([^&\s]+)/.exec(text)?.[1] ?? text;
    if (!token) return;
    window.eigenlens.setToken(token);
    start();
  });
  fill(element('notice'), form);
  announce('Open the link that the app printed.');
}

async function start() {
  fill(element('notice'), work.element);
  if (!window.eigenlens.token()) {
    askForLink();
    return;
  }
  const info = await work.run('Asking the app about its model', (options) => get('/info', {}, options), { retry: start });
  if (!info) return;
  element('notice').replaceChildren();
  session.info = info;
  const { model, sae } = info;
  fill(element('model'), h('span', { title: `Model ${model.name}, ${model.layers} layers of ${count(model.d_model)}` }, model.name), ' · ',
    h('span', { title: sae.architecture }, `${sae.name}, ${count(sae.latents)} latents`));
  element('go-latent').max = sae.latents - 1;
  element('go-range').textContent = `0 to ${count(sae.latents - 1)}`;
  if (!element('nav').children.length) navigation();
  schedule(['shown', 'data']);
}

state.on(schedule);
onHover(() => schedule(['hover']));
onPrompt(() => schedule(['data']));
onTheme(() => schedule(['theme']));
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', themeChanged);
window.addEventListener('eigenlens-unauthorized', askForLink);
window.addEventListener('eigenlens-token', start);
keys();
start();
