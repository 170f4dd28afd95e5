// Tab Examples: texts that activate the latent most, at the layer or at all layers.

import { checkbox, debounce, field, fill, h, note } from './dom.js';
import { exampleList, exampleRecords, windowSelect } from './examples.js';
import { empty, latentLink } from './links.js';
import { active, session } from './session.js';
import { state } from './state.js';

const PREVIEW_AFTER = 200; // ms under the pointer

export function examplesTab() {
  const list = exampleList('examples');
  const size = windowSelect('window');
  const every = checkbox('All layers', 'Show examples of all layers, not only the held one', (value) => state.set({ every: value }), { id: 'every' });
  const title = note();
  const known = session.info.data.examples !== null;
  const element = h('div', {}, known ? [h('div', { class: 'row' }, field('Window', size), every.element), title, list.element]
    : empty('No examples are kept for this autoencoder. Start the app with a folder of examples to see them here.'));
  const later = debounce(PREVIEW_AFTER, () => fetchNow());

  function fetchNow() {
    if (!session.prompt || !known) return;
    const now = active();
    list.update(now.latent, state.values.every ? null : now.layer);
    fill(title, 'Texts in which latent ', latentLink(now.latent, session.prompt.about(now.latent).label),
      state.values.every ? ' is most active, at any layer' : ` is most active at layer ${now.layer}`, '. The token of the largest activation is underlined.');
  }

  return {
    element,
    update(prompt, changed) {
      size.value = state.values.window;
      every.box.checked = state.values.every;
      if (changed.size === 1 && changed.has('hover')) later();
      else {
        later.cancel();
        fetchNow();
      }
    },
    shown: () => ({ name: 'examples', rows: exampleRecords(list.rows()), data: { latent: active().latent, examples: list.rows() } }),
  };
}
