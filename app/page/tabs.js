// Tabs: arrow keys move between them, and only the chosen panel is shown.

import { fill, h } from './dom.js';

/** `tabs` is `[{id, title, help, element}]`. `onChoose(id)` is called by pointer and keys. */
export function tabList(label, tabs, onChoose) {
  const buttons = tabs.map(({ id, title, help }) => h('button', {
    type: 'button', role: 'tab', id: `tab-${id}`, title: help, 'aria-controls': `panel-${id}`, on: { click: () => onChoose(id) },
  }, title));
  const panels = tabs.map(({ id, element }) => h('div', { role: 'tabpanel', id: `panel-${id}`, 'aria-labelledby': `tab-${id}`, hidden: true }, element));
  const list = h('div', { role: 'tablist', 'aria-label': label, class: 'tabs' }, buttons);
  list.addEventListener('keydown', (event) => {
    const now = buttons.indexOf(document.activeElement);
    const next = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (next === undefined || now < 0) return;
    event.preventDefault();
    const at = (next + tabs.length) % tabs.length;
    buttons[at].focus();
    onChoose(tabs[at].id);
  });
  return {
    element: fill(h('div', { class: 'tab-box' }), list, panels),
    choose(id) {
      tabs.forEach((tab, i) => {
        const chosen = tab.id === id;
        buttons[i].setAttribute('aria-selected', String(chosen));
        buttons[i].tabIndex = chosen ? 0 : -1;
        panels[i].hidden = !chosen;
      });
    },
  };
}
