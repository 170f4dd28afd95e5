// A range and a number box for the same value.

import { debounce, h, newId } from './dom.js';

/** `onInput(value)` is called `wait` ms after the last change. Outside the range the box still takes numbers if `free`. */
export function slider({ id, label, help, min, max, step, value = 0, wait = 0, free = false, onInput }) {
  const later = debounce(wait, () => onInput(Number(box.value)));
  const name = id ?? newId('slider');
  const range = h('input', { type: 'range', id: `${name}-range`, min, max, step, value, 'aria-label': `${label}, slider`, title: help });
  const box = h('input', { type: 'number', id: name, min: free ? null : min, max: free ? null : max, step: free ? 'any' : step, value, title: help });
  range.addEventListener('input', () => {
    box.value = range.value;
    later();
  });
  box.addEventListener('input', () => {
    if (box.value === '' || !box.checkValidity()) return;
    range.value = box.value;
    later();
  });
  box.addEventListener('change', () => {
    if (box.value === '' || !box.checkValidity()) box.value = range.value;
  });
  return {
    element: h('div', { class: 'field slider' }, h('label', { for: name, title: help }, label), h('div', { class: 'field-row' }, range, box)),
    set(next) {
      if (Number(box.value) === next && box.value !== '') return;
      box.value = next;
      range.value = next;
    },
    limits(low, high, by) {
      range.min = low;
      range.max = high;
      range.step = by;
      range.value = box.value;
    },
  };
}
