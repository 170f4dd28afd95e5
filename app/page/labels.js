// The user's own label of a latent: shown, edited and saved.

import { put } from './api.js';
import { announce, button, fill, h } from './dom.js';
import { labelOf, session } from './session.js';
import { Work } from './work.js';

/** A label with Edit, unless the app is read-only. `work` is where an error is shown, if not beside the label. */
export function labelEditor(latent, known, { work } = {}) {
  const element = h('div', { class: 'list-label', data: { label: latent } });
  const status = work ?? new Work();

  function show() {
    const name = labelOf(latent, known);
    fill(element, h('span', { class: name ? null : 'quiet', title: name }, name || (session.info.read_only ? '' : 'no label')),
      !session.info.read_only && button('Edit', `Edit the label of latent ${latent}`, edit, { 'aria-label': `Edit the label of latent ${latent}` }));
  }

  function leave() {
    status.stop();
    show();
    element.querySelector('button')?.focus();
  }

  function edit() {
    const input = h('input', { type: 'text', value: labelOf(latent, known), maxlength: session.info.limits.label_chars,
      'aria-label': `Label of latent ${latent}`, title: 'Enter saves, Escape leaves the label as it was' });
    const save = async () => {
      const label = input.value.trim();
      const done = await status.run('Saving the label', async (options) => {
        await put(`/labels/${latent}`, { label }, options);
        return true;
      });
      if (!done) return; // what was typed stays, beside the error
      session.labels.set(latent, label);
      announce('Label saved.');
      show();
      element.querySelector('button')?.focus();
    };
    input.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') save();
      else if (event.key === 'Escape') {
        event.stopPropagation();
        leave();
      }
    });
    fill(element, input, button('Save', 'Save this label', save), button('Cancel', 'Leave the label as it was', leave), work ? null : status.element);
    input.focus();
  }

  show();
  return element;
}
