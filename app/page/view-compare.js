// Compare: two prompts or two latents side by side, layer by layer.

import { h, mark } from './dom.js';
import { comparePrompts } from './compare-prompts.js';
import { compareLatents } from './compare-latents.js';
import { heading } from './links.js';
import { state } from './state.js';

export function compareView() {
  const modes = { prompts: comparePrompts(), latents: compareLatents() };
  const titles = { prompts: 'Two prompts', latents: 'Two latents' };
  const buttons = Object.keys(modes).map((what) => h('button', { type: 'button', id: `compare-${what}`, title: `Compare ${titles[what].toLowerCase()}`,
    on: { click: () => state.go({ what }) } }, titles[what]));
  const element = h('div', { class: 'view' },
    heading('Compare', 'See what differs: which latents are active in one text and not in another, or how two latents are distributed over layers and tokens. '
      + 'Differences are B minus A: blue is more in B, orange is more in A.'),
    h('div', { class: 'row', role: 'group', 'aria-label': 'What to compare' }, buttons), Object.values(modes).map((mode) => mode.element));
  const now = () => (state.values.what === 'latents' ? 'latents' : 'prompts');
  return {
    element,
    update(changed) {
      const what = now();
      Object.keys(modes).forEach((key, i) => {
        mark(buttons[i], 'aria-pressed', String(key === what));
        modes[key].element.hidden = key !== what;
      });
      modes[what].update(changed);
    },
    shown: () => modes[now()].shown(),
  };
}
