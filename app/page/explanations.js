// What language models wrote about latents. It comes from a file, so it is shown as text and taken for what it is.

import { h, note } from './dom.js';
import { number } from './format.js';
import { labelOf, session } from './session.js';

const SCORE = 'How well the explanation tells texts with the latent from others, where it was measured: of a balanced accuracy 1 is perfect and 0.5 is chance';

/** What a latent is called: the reader's label, else the explanation. `{text, own}`, or null if it has neither. */
export function nameOf(latent, label) {
  const own = labelOf(latent, label);
  if (own) return { text: own, own: true };
  const text = session.explanations.get(latent);
  return text ? { text, own: false } : null;
}

/** The explanation of an answer, with who wrote it and its score. */
export function explanationBox(explanation) {
  if (!explanation) return session.info.data.explanations ? note('Nobody has explained this latent.') : null;
  const { text, by, score } = explanation;
  return h('div', { class: 'explanation', id: 'explanation', role: 'group', 'aria-label': 'Explanation' },
    h('span', { class: 'quiet' }, 'Explanation:'), h('p', { dir: 'auto' }, text),
    h('span', { class: 'quiet small' }, by && h('span', { id: 'explained-by' }, 'written by ', h('bdi', {}, by)), by && score != null && ', ',
      score != null && h('span', { id: 'explained-score', title: SCORE }, `score ${number(score)}`)));
}
