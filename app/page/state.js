// The state of the page, which is all in the address: a copied link opens what was seen.

/** Every key with its default. A number's default may be null: not chosen. */
const KEYS = {
  view: 'prompt', embed: false,
  prompt: null, layer: null, latent: null, position: null, to: null,
  tab: 'histograms', threshold: 0.05, factor: 0, window: '', every: false,
  // the list of latents
  sort: 'latent', order: 'asc', q: '', alive: '',
  layer_from: null, layer_to: null, std_from: null, std_to: null, density_from: null, density_to: null,
  // the page of a latent
  on: null, text: '',
  // search by activation
  chosen: '', by: 'sum', dense: true, special: true, in: '',
  // steer
  do: '', tokens: 40, temperature: 0, top_k: null, seed: 0,
  // compare
  what: 'prompts', a: null, b: null, latent_a: null, latent_b: null, at_a: null, at_b: null,
};
const NUMBERS = new Set(['layer', 'latent', 'position', 'to', 'threshold', 'factor', 'layer_from', 'layer_to', 'std_from',
  'std_to', 'density_from', 'density_to', 'on', 'tokens', 'temperature', 'top_k', 'seed', 'latent_a', 'latent_b', 'at_a', 'at_b']);
const SAFE = { '%2C': ',', '%3A': ':', '%3B': ';', '%2F': '/' };

function encode(value) {
  return encodeURIComponent(value).replace(/%2C|%3A|%3B|%2F/g, (code) => SAFE[code])
    .replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function parse(fragment) {
  const values = { ...KEYS };
  for (const part of fragment.replace(/^#/, '').split('&')) {
    const at = part.indexOf('=');
    const key = part.slice(0, at);
    if (at < 0 || !Object.hasOwn(KEYS, key)) continue;
    const text = decode(part.slice(at + 1));
    if (NUMBERS.has(key)) {
      if (text.trim() !== '' && Number.isFinite(Number(text))) values[key] = Number(text);
    } else {
      values[key] = typeof KEYS[key] === 'boolean' ? text === '1' : text;
    }
  }
  return values;
}

function write(values) {
  const parts = [];
  for (const [key, value] of Object.entries(values)) {
    if (value === KEYS[key] || value == null) continue;
    parts.push(`${key}=${encode(typeof value === 'boolean' ? Number(value) : value)}`);
  }
  return parts.length ? `#${parts.join('&')}` : '';
}

const listeners = [];
const address = (fragment) => location.pathname + location.search + fragment;

export const state = {
  values: parse(location.hash),

  /** Changes some keys. */
  set(patch, { push = false } = {}) {
    const changed = new Set(Object.keys(patch).filter((key) => patch[key] !== this.values[key]));
    if (changed.size === 0) return;
    Object.assign(this.values, patch);
    const fragment = write(this.values);
    history[push ? 'pushState' : 'replaceState'](null, '', address(fragment));
    tell(changed);
  },

  /** Changes some keys as a step that Back undoes. */
  go(patch) {
    this.set(patch, { push: true });
  },

  /** The address of this state with some keys changed. */
  link(patch = {}) {
    return address(write({ ...this.values, ...patch }) || '#');
  },

  /** Sets the keys back to their defaults. */
  defaults: (keys) => Object.fromEntries(keys.map((key) => [key, KEYS[key]])),

  on(listener) {
    listeners.push(listener);
  },
};

function tell(changed) {
  for (const listener of listeners) listener(changed);
}

function reread() {
  if (window.eigenlens.takeToken()) window.dispatchEvent(new Event('eigenlens-token'));
  const values = parse(location.hash);
  const changed = new Set(Object.keys(KEYS).filter((key) => values[key] !== state.values[key]));
  state.values = values;
  if (changed.size) tell(changed);
}
window.addEventListener('popstate', reread);
window.addEventListener('hashchange', reread);
