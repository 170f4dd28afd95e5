// Builds elements. Text enters as text nodes only, so nothing that comes from a model is ever read as HTML.

const SVG = 'http://www.w3.org/2000/svg';
const PROPERTIES = new Set(['value', 'checked', 'disabled', 'hidden', 'indeterminate']);

function furnish(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value == null && !PROPERTIES.has(name)) continue;
    if (name === 'on') {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name === 'data') {
      for (const [key, item] of Object.entries(value)) if (item != null) element.dataset[key] = item;
    } else if (PROPERTIES.has(name)) {
      element[name] = value ?? '';
    } else if (value !== false) {
      element.setAttribute(name, value === true ? '' : value);
    }
  }
  add(element, children);
  return element;
}

/** An HTML element: `h('p', {class: 'note'}, 'text', child)`. */
export function h(tag, attributes, ...children) {
  return furnish(document.createElement(tag), attributes, children);
}

/** The same in SVG. */
export function svg(tag, attributes, ...children) {
  return furnish(document.createElementNS(SVG, tag), attributes, children);
}

function add(element, children) {
  const list = children.flat(Infinity).filter((child) => child != null && child !== false);
  element.append(...list);
}

/** Replaces what is in `element`. */
export function fill(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

/** Sets an attribute, or removes it if `value` is null or false; touches nothing that is so already. */
export function mark(element, name, value) {
  const text = value == null || value === false ? null : value === true ? '' : String(value);
  if (element.getAttribute(name) === text) return;
  if (text === null) element.removeAttribute(name);
  else element.setAttribute(name, text);
}

/** A short explanation. */
export const note = (...children) => h('p', { class: 'quiet small' }, children);

/** A framed part of a view, named for screen readers only. */
export const panel = (name, ...children) => h('section', { class: 'card', 'aria-label': name }, children);

/** The same with its name as a heading. */
export const card = (name, ...children) => panel(name, h('h2', {}, name), children);

/** A cell of numbers. */
export const right = (text, data, title) => h('td', { class: 'right', data, title }, text);

/** A table in a box of its own, which scrolls. `heads` are names or [name, help]; all but the first are of numbers. */
export function table(id, caption, heads, rows, kind = 'data') {
  return h('div', { class: 'scroll' }, h('table', { class: kind, id }, h('caption', { class: 'hidden-text' }, caption),
    h('thead', {}, h('tr', {}, heads.map((head, i) => {
      const [name, help] = [head].flat();
      return h('th', { scope: 'col', class: i ? 'right' : null, title: help }, name);
    }))), h('tbody', {}, rows)));
}

let ids = 0;
export const newId = (stem) => `${stem}-${++ids}`;

/** A label above a control. `help` becomes the control's title. */
export function field(label, control, help, extra) {
  if (!control.id) control.id = newId('control');
  if (help) control.title = help;
  return h('div', { class: 'field' }, h('label', { for: control.id, title: help }, label), h('div', { class: 'field-row' }, control, extra));
}

export function button(text, title, listener, attributes) {
  return h('button', { type: 'button', title, on: { click: listener }, ...attributes }, text);
}

/** A select of `[value, text]` pairs. */
export function select(options, value, listener, attributes) {
  const element = h('select', { ...attributes, on: { change: () => listener(element.value) } },
    options.map(([key, text]) => h('option', { value: key }, text)));
  element.value = value;
  return element;
}

export function checkbox(text, title, listener, attributes) {
  const box = h('input', { type: 'checkbox', ...attributes, on: { change: () => listener(box.checked) } });
  return { box, element: h('label', { class: 'check', title }, box, text) };
}

/** Calls `fn` after `ms` without another call. */
export function debounce(ms, fn) {
  let timer = 0;
  const later = (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => fn(...values), ms);
  };
  later.cancel = () => clearTimeout(timer);
  return later;
}

/** Says something to screen readers. */
export function announce(text) {
  document.getElementById('live').textContent = text;
}

/** True if keys that are pressed now belong to what the user types. */
export function isTyping(event) {
  const target = event.target;
  return event.ctrlKey || event.metaKey || event.altKey || event.isComposing
    || (target instanceof Element && target.closest('input, textarea, select, [contenteditable]') !== null);
}
