// One place on the page where something takes time: what is going on, for how long, Cancel, and errors.

import { ApiError, isAbort } from './api.js';
import { announce, button, fill, h } from './dom.js';

const SHOW_AFTER = 250; // ms; quicker answers need no sign

export class Work {
  constructor() {
    this.element = h('div', { class: 'work' });
    this.controller = null;
  }

  /**
   * Runs `job({signal, onWait})` and returns what it returns, or undefined if it failed, was cancelled or was replaced.
   * A job that still runs here is aborted first.
   */
  async run(label, job, { quiet = false, retry = null } = {}) {
    this.controller?.abort();
    this.retry = retry;
    const controller = new AbortController();
    this.controller = controller;
    const started = performance.now();
    let waiting = false;
    let timer = 0;
    const seconds = h('span', { class: 'seconds', 'aria-hidden': 'true' });
    const text = h('span', {}, label);
    const tick = () => {
      text.textContent = waiting ? `${label} (waiting for other requests)` : label;
      seconds.textContent = `${((performance.now() - started) / 1000).toFixed(1)} s`;
    };
    const show = () => {
      if (this.controller !== controller) return;
      tick();
      timer = setInterval(tick, 100);
      this.element.dataset.busy = '';
      fill(this.element, h('div', { class: 'busy' }, h('span', { class: 'spinner', 'aria-hidden': 'true' }), text, seconds,
        button('Cancel', 'Stop this request', () => this.cancel())));
      if (!quiet) announce(`${label} …`);
    };
    const delay = setTimeout(show, SHOW_AFTER);
    try {
      const value = await job({ signal: controller.signal, onWait: () => { waiting = true; } });
      if (this.controller !== controller) return undefined;
      if (performance.now() - started > SHOW_AFTER && !quiet) announce(`${label}: done.`);
      this.clear();
      return value;
    } catch (error) {
      if (this.controller !== controller || isAbort(error) || error.replaced) return undefined;
      this.clear();
      this.fail(error);
      return undefined;
    } finally {
      clearTimeout(delay);
      clearInterval(timer);
      if (this.controller === controller) this.controller = null;
    }
  }

  get running() {
    return this.controller !== null;
  }

  cancel() {
    if (!this.controller) return;
    this.stop();
    fill(this.element, h('div', { class: 'busy' }, 'Cancelled.', this.again()));
    announce('Cancelled.');
  }

  /** Ends the job without a word. */
  stop() {
    this.controller?.abort();
    this.controller = null;
    this.clear();
  }

  clear() {
    delete this.element.dataset.busy;
    this.element.replaceChildren();
  }

  again() {
    return this.retry && button('Try again', 'Send the same request once more', this.retry);
  }

  fail(error) {
    const box = errorBox(error);
    const again = this.again();
    if (again) box.append(' ', again);
    fill(this.element, box);
    if (!(error instanceof ApiError)) console.error(error);
  }
}

/** Fetches what belongs to a key, once, and calls `done` when it is there. */
export class Loader {
  constructor(done) {
    this.work = new Work();
    this.done = done;
    this.key = null;
    this.loadedKey = null;
    this.value = null;
  }

  get element() {
    return this.work.element;
  }

  load(key, label, job) {
    if (key === this.key) return;
    this.key = key;
    if (this.loadedKey === key) {
      this.work.stop();
      return;
    }
    this.start(label, job);
  }

  async start(label, job) {
    const { key } = this;
    const value = await this.work.run(label, job, { retry: () => this.start(label, job) });
    if (value === undefined || key !== this.key) return;
    this.value = value;
    this.loadedKey = key;
    this.done();
  }

  /** Stops what is going on and forgets the key, so that the next `load` asks again. */
  reset() {
    this.work.stop();
    this.key = null;
    this.loadedKey = null;
    this.value = null;
  }

  /** The value of a key, or null while it is not there. */
  get(key) {
    return key === this.loadedKey ? this.value : null;
  }
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const phrase = (text) => text.trim().replace(/\.$/, '');

function verb(status) {
  if (status === 404) return 'was not found';
  if (status === 401 || status === 403) return 'may not be used';
  if (status < 400 || status >= 500) return 'did not work';
  return status === 429 ? 'is busy' : 'was not accepted';
}

/** What is wrong, what was expected, and what to do. */
export function errorBox(error) {
  if (!(error instanceof ApiError)) {
    return h('div', { class: 'error', role: 'alert' }, h('strong', {}, 'The page met an error.'), ` ${error?.message ?? error}`);
  }
  return h('div', { class: 'error', role: 'alert' },
    h('strong', {}, `${sentence(error.what ?? 'the request')} ${verb(error.status)}.`),
    error.expected && ` Expected: ${phrase(error.expected)}.`,
    error.found && ` Found: ${phrase(String(error.found))}.`,
    error.hint && ` ${error.hint}`);
}
