// What the page has from the server: facts about the model, prompts, and what is held and hovered.

import { get, post } from './api.js';
import { Prompt } from './prompt.js';
import { state } from './state.js';

const KEPT_PROMPTS = 6;

export const session = {
  info: null,
  prompt: null, // the one of the views Prompt, Search and Steer
  hover: {}, // layer, latent, position under the pointer
  labels: new Map(), // labels changed on this page
  explanations: new Map(), // texts about those latents of which an answer had one
};

const prompts = new Map();

/** The text of the prompt box as the state has it. */
export const promptText = () => state.values.prompt ?? session.info.prompt ?? '';

/** Asks the server for a prompt, or takes one that was asked for before. */
export async function fetchPrompt(text, { view = 'prompt', fresh = false, ...options } = {}) {
  const old = prompts.get(text);
  if (old && !fresh) {
    prompts.delete(text);
    prompts.set(text, old); // the newest is last
    return old;
  }
  const answer = await post('/prompt', { prompt: text }, { view, ...options });
  if (old) {
    old.id = answer.id;
    return old;
  }
  const prompt = new Prompt(text, answer);
  const { id, explanation } = answer.latents;
  explanation.forEach((own, i) => learn(id[i], own));
  prompts.set(text, prompt);
  if (prompts.size > KEPT_PROMPTS) prompts.delete(prompts.keys().next().value);
  return prompt;
}

/** Calls `fn(id)`; if the server has forgotten the prompt, submits it again first. */
export async function withId(prompt, fn, options) {
  try {
    return await fn(prompt.id);
  } catch (error) {
    if (error.status !== 404) throw error;
    await fetchPrompt(prompt.text, { ...options, fresh: true });
    return fn(prompt.id);
  }
}

/** The layers of the model that the autoencoder reads, and their order. */
export const layers = () => session.info.sae.layers;
export const layerIndex = (layer) => layers().indexOf(layer);

/** The layer, latent and position that are held, with defaults for what was not chosen. */
export function held() {
  const { values } = state;
  const prompt = session.prompt;
  const all = layers();
  const layer = all.includes(values.layer) ? values.layer : all[all.length >> 1];
  const last = prompt ? prompt.length - 1 : 0;
  const position = Math.min(values.position ?? last, last);
  const to = Math.min(values.to ?? position, last);
  const latent = values.latent ?? prompt?.strongest(layerIndex(layer), position) ?? 0;
  return { layer, latent, position, from: Math.min(position, to), to: Math.max(position, to) };
}

/** The same, with what is under the pointer in place of what is held. */
export function active() {
  const now = held();
  const { hover } = session;
  return { layer: hover.layer ?? now.layer, latent: hover.latent ?? now.latent, position: hover.position ?? now.position };
}

const hoverListeners = [];
export const onHover = (listener) => hoverListeners.push(listener);

/** Previews what is under the pointer; without an argument, shows what is held again. */
export function hover(what = {}) {
  const same = ['layer', 'latent', 'position'].every((key) => session.hover[key] === what[key]);
  if (same) return;
  session.hover = what;
  for (const listener of hoverListeners) listener();
}

/** A label as it is now. */
export const labelOf = (latent, known) => session.labels.get(latent) ?? known ?? '';

/** Keeps what an answer says that was written about a latent. */
export function learn(latent, explanation) {
  if (explanation) session.explanations.set(latent, explanation);
}

const details = new Map();

/** GET /latents/{i}, kept for this page. */
export async function latentDetails(latent, options) {
  let found = details.get(latent);
  if (!found) {
    found = await get(`/latents/${latent}`, {}, options);
    learn(latent, found.explanation?.text);
    for (const near of Object.values(found.nearest).flat()) learn(near.latent, near.explanation);
    details.set(latent, found);
    if (details.size > 40) details.delete(details.keys().next().value);
  }
  return found;
}
