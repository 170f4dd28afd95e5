// A long list of which only the rows in sight are in the page; they are fetched in pages as one scrolls.

import { debounce, h } from './dom.js';

const ROW = 40; // pixels, as in the style sheet
const PAGE = 100;
const SPARE = 8; // rows above and below what is seen
const MOST_ROWS = 80;
const KEPT_PAGES = 60;

/** `fetchPage(offset, limit)` resolves to rows, or to undefined; `rowCells(row, element)` are the cells of a row. */
export function virtualList({ label, head, fetchPage, rowCells, id }) {
  const body = h('div', { class: 'list-body', role: 'rowgroup' });
  const scroller = h('div', { class: 'list', id, role: 'table', 'aria-label': label, tabindex: 0 }, head, body);
  let total = 0;
  let pages = new Map();
  let wanted = ''; // the pages that are fetched now
  let drawn = new Map(); // row number → element

  const rowAt = (i) => pages.get(Math.floor(i / PAGE))?.[i % PAGE];

  function range() {
    const first = Math.floor(scroller.scrollTop / ROW) - SPARE;
    const seen = Math.ceil((scroller.clientHeight || 640) / ROW) + 2 * SPARE;
    const start = Math.max(0, first);
    return [start, Math.min(total, start + Math.min(seen, MOST_ROWS))];
  }

  function draw() {
    body.style.height = `${total * ROW}px`;
    scroller.setAttribute('aria-rowcount', total + 1);
    const [start, end] = range();
    const next = new Map();
    for (let i = start; i < end; i += 1) {
      const row = rowAt(i);
      const old = drawn.get(i);
      if (old && old.row === (row ?? null)) {
        next.set(i, old);
        continue;
      }
      const element = h('div', { class: 'list-row', role: 'row', 'aria-rowindex': i + 2, data: row ? { latent: row.latent } : {} });
      element.append(...(row ? rowCells(row) : [h('span', { role: 'cell', class: 'quiet' }, '…')]));
      element.style.top = `${i * ROW}px`;
      next.set(i, { row: row ?? null, element });
    }
    const focused = body.contains(document.activeElement) ? document.activeElement : null;
    for (const [i, old] of drawn) {
      if (next.get(i) === old) continue;
      if (old.element.querySelector('input')) { // a label that is being typed is never lost
        next.get(i)?.element.remove();
        next.set(i, old);
        continue;
      }
      if (focused && old.element.contains(focused)) scroller.focus({ preventScroll: true });
      old.element.remove();
    }
    let place = body.firstChild; // new rows go between the others, so that Tab follows the order
    for (const [, { element }] of [...next].sort(([a], [b]) => a - b)) {
      if (element === place) place = place.nextSibling;
      else body.insertBefore(element, place);
    }
    drawn = next;
  }

  /** Fetches the pages `first` to `last` in one request, which takes the place of one that still runs. */
  async function load(first, last) {
    const key = `${first}-${last}`;
    if (wanted === key) return;
    wanted = key;
    const mine = pages;
    const rows = await fetchPage(first * PAGE, (last - first + 1) * PAGE);
    if (wanted === key) wanted = '';
    if (mine !== pages || !rows) return;
    for (let page = first; page <= last; page += 1) mine.set(page, rows.slice((page - first) * PAGE, (page - first + 1) * PAGE));
    for (const page of mine.keys()) {
      if (mine.size <= KEPT_PAGES) break;
      if (page < first - 1 || page > last + 1) mine.delete(page);
    }
    draw();
    fetchSeen();
  }

  const fetchSeen = debounce(60, () => {
    const [start, end] = range();
    const missing = [];
    for (let page = Math.floor(start / PAGE); page <= Math.floor((end - 1) / PAGE); page += 1) if (!pages.has(page)) missing.push(page);
    if (end > start && missing.length) load(missing[0], missing[missing.length - 1]);
  });

  scroller.addEventListener('scroll', () => {
    draw();
    fetchSeen();
  }, { passive: true });

  return {
    element: scroller,
    /** Begins anew with a total and the rows of the first page. */
    reset(newTotal, rows) {
      total = newTotal;
      pages = new Map([[0, rows]]);
      wanted = '';
      for (const { element } of drawn.values()) element.remove();
      drawn = new Map();
      scroller.scrollTop = 0;
      draw();
    },
    redraw() {
      draw();
      fetchSeen();
    },
    /** Rows that are in the page now. */
    rows: () => {
      const [start, end] = range();
      return Array.from({ length: Math.max(0, end - start) }, (_, i) => rowAt(start + i)).filter(Boolean);
    },
    pageSize: PAGE,
  };
}
