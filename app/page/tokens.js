// A row of tokens, coloured by activation: click holds, shift-click makes a range, hover previews, arrows move.

import { h, mark } from './dom.js';
import { number, step } from './format.js';

/**
 * `onHold(position, event)` and `onHover(position or null)` are called by pointer and keys.
 * `update` takes functions of the position: `share` (0 to 1), `title`, and `chosen` (true or false).
 */
export function tokenStrip({ label, onHold, onHover, many = false, id }) {
  const element = h('div', { class: 'tokens', role: 'listbox', 'aria-label': label, id,
    'aria-multiselectable': many ? 'true' : null, 'aria-orientation': 'horizontal' });
  let cells = [];
  let shown = null;
  let focus = 0;

  const positionOf = (target) => {
    const cell = target.closest?.('[data-position]');
    return cell ? Number(cell.dataset.position) : null;
  };
  const rove = (position) => {
    if (cells[focus]) cells[focus].tabIndex = -1;
    focus = Math.max(0, Math.min(cells.length - 1, position));
    if (cells[focus]) cells[focus].tabIndex = 0;
  };

  element.addEventListener('click', (event) => {
    const position = positionOf(event.target);
    if (position === null) return;
    rove(position);
    onHold?.(position, event);
  });
  element.addEventListener('mousedown', (event) => event.shiftKey && event.preventDefault());
  element.addEventListener('pointerover', (event) => {
    if (event.pointerType !== 'touch') onHover?.(positionOf(event.target));
  });
  element.addEventListener('pointerleave', () => onHover?.(null));
  element.addEventListener('keydown', (event) => {
    const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      onHold?.(focus, event);
    } else if (move !== undefined && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      rove(focus + move);
      cells[focus].focus();
      if (!many || event.shiftKey) onHold?.(focus, event);
    }
  });

  return {
    element,
    update({ tokens, share, chosen, active, title }) {
      if (shown !== tokens) {
        shown = tokens;
        cells = tokens.map((token, t) => h('span', { class: token.special ? 'token special' : 'token', role: 'option', tabindex: -1,
          data: { position: t } }, token.text || '∅'));
        const children = [];
        cells.forEach((cell, t) => {
          children.push(cell);
          if (tokens[t].text.endsWith('↵')) children.push(h('br'));
        });
        element.replaceChildren(...children);
        focus = 0;
        rove(tokens.length - 1);
      }
      cells.forEach((cell, t) => {
        mark(cell, 'data-h', share ? step(share(t)) : null);
        mark(cell, 'data-active', active === t);
        const isChosen = chosen?.(t) ?? false;
        mark(cell, 'aria-selected', String(isChosen));
        const note = title?.(t) ?? '';
        const kind = tokens[t].special ? ' (special token)' : '';
        mark(cell, 'title', `Position ${t}${kind}${note ? `: ${note}` : ''}`);
      });
      if (active != null && !element.contains(document.activeElement)) rove(active);
    },
  };
}

/** Tokens that are only read, such as an example: coloured by activation over `max`, with the peak underlined. */
export function readTokens(tokens, activations, max, peak = -1) {
  return h('span', { class: 'tokens read' }, tokens.map((text, i) => {
    const value = activations[i] ?? 0;
    return h('span', { class: i === peak ? 'token peak' : 'token', title: value > 0 ? `activation ${number(value)}` : 'not active',
      data: { h: step(max > 0 ? value / max : 0) } }, text || '∅');
  }));
}
