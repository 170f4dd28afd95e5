// Requests to the server: the token, errors that say what to do, waiting in the queue, and streams.

const ROOT = '/api/v1';
const MOST_WAITS = 30;

// A newer request of the same view and page replaces one that still waits in the queue.
const CLIENT = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, '0')).join('');

export class ApiError extends Error {
  constructor(status, { what, expected, found, hint }) {
    super(what);
    Object.assign(this, { status, what, expected, found, hint });
  }

  /** True if a later request of the same view took the place of this one. */
  get replaced() {
    return this.status === 429 && this.what === 'a newer request';
  }
}

export const isAbort = (error) => error?.name === 'AbortError';

const UNREACHABLE = {
  what: 'the app',
  expected: 'an answer from its server',
  hint: 'Check that the command or the notebook that started it still runs, then try again.',
};

/** Resolves after `ms`, or rejects if `signal` aborts. */
export function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(new DOMException('stopped', 'AbortError'));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, ms);
    if (signal?.aborted) stop();
    else signal?.addEventListener('abort', stop, { once: true });
  });
}

async function errorOf(response) {
  let error = null;
  try {
    error = (await response.json()).error;
  } catch { /* no JSON in it */ }
  return new ApiError(response.status, error ?? {
    what: 'the answer of the server', expected: 'data', found: `status ${response.status}`, hint: 'Try again.',
  });
}

async function send(path, { method = 'GET', body, view, signal, onWait } = {}) {
  const headers = { Authorization: `Bearer ${window.eigenlens.token() ?? ''}`, 'X-Eigenlens-Client': CLIENT };
  if (view) headers['X-Eigenlens-View'] = view;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  for (let wait = 0; ; wait += 1) {
    let response;
    try {
      response = await fetch(ROOT + path, {
        method, headers, signal, cache: 'no-store', body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch (error) {
      if (isAbort(error)) throw error;
      throw new ApiError(0, UNREACHABLE);
    }
    if (response.ok) return response;
    const error = await errorOf(response);
    if (error.status === 401) window.dispatchEvent(new Event('eigenlens-unauthorized'));
    if (error.status !== 429 || error.replaced || wait >= MOST_WAITS) throw error;
    onWait?.();
    await sleep(1000 * Math.min(30, Math.max(0.2, Number(response.headers.get('Retry-After')) || 1)), signal);
  }
}

async function reading(promise) {
  try {
    return await promise;
  } catch (error) {
    if (isAbort(error) || error instanceof ApiError) throw error;
    throw new ApiError(0, UNREACHABLE);
  }
}

/** GET with the defined values of `query`. */
export async function get(path, query = {}, options = {}) {
  const parameters = new URLSearchParams(Object.entries(query).filter(([, value]) => value != null && value !== ''));
  const text = parameters.toString();
  const response = await send(text ? `${path}?${text}` : path, options);
  return reading(response.json());
}

export async function post(path, body, options = {}) {
  const response = await send(path, { ...options, method: 'POST', body });
  return reading(response.json());
}

export async function put(path, body, options = {}) {
  await send(path, { ...options, method: 'PUT', body });
}

/** POST whose answer is a JSON value a line, each given as soon as it arrives. */
export async function* lines(path, body, options = {}) {
  const response = await send(path, { ...options, method: 'POST', body });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      const { value, done } = await reading(reader.read());
      const parts = (rest + (value ?? '')).split('\n');
      rest = done ? '' : parts.pop();
      for (const part of parts) {
        if (!part.trim()) continue;
        const item = JSON.parse(part);
        if (item.error) throw new ApiError(200, item.error);
        yield item;
      }
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
