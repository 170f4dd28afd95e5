// What leaves the page: a link, JSON and CSV.

import { announce, h } from './dom.js';
import { state } from './state.js';

function save(name, kind, text) {
  const link = h('a', { download: name, href: URL.createObjectURL(new Blob([text], { type: kind })) });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  announce(`Saved ${name}.`);
}

const nothing = () => announce('There is nothing to save yet.');

/** `shown` is `{name, rows, data}`: rows of the table, and more for JSON if there is more. */
export function saveJson(shown) {
  if (!shown) return nothing();
  return save(`eigenlens-${shown.name}.json`, 'application/json', `${JSON.stringify(shown.data ?? shown.rows, null, 1)}\n`);
}

function cell(value) {
  const text = value == null ? '' : Array.isArray(value) ? value.join(' ') : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function csv(rows) {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  return [names, ...rows.map((row) => names.map((name) => row[name]))].map((line) => `${line.map(cell).join(',')}\r\n`).join('');
}

export function saveCsv(shown) {
  if (!shown?.rows?.length) return nothing();
  return save(`eigenlens-${shown.name}.csv`, 'text/csv', csv(shown.rows));
}

/** Copies the address of the state; frames may forbid the clipboard, so there is an older way too. */
export async function copyLink(where) {
  const link = new URL(state.link(), location.href).href;
  let done = false;
  try {
    await navigator.clipboard.writeText(link);
    done = true;
  } catch {
    const box = h('textarea', { class: 'hidden-text', 'aria-hidden': 'true', value: link });
    document.body.append(box);
    box.select();
    done = document.execCommand('copy');
    box.remove();
  }
  const text = where.textContent;
  where.textContent = done ? 'Copied' : 'Not copied';
  announce(done ? 'Link copied.' : `The browser did not allow copying. The link is ${link}`);
  setTimeout(() => { where.textContent = text; }, 1500);
}
