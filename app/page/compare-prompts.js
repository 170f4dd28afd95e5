// Two prompts side by side: their loss, error, active latents and predictions.

import { button, card, checkbox, fill, h, note, panel, right, select, table } from './dom.js';
import { count, difference, number, percent, plural, quoted, signed } from './format.js';
import { empty, latentLink } from './links.js';
import { probabilities } from './logits.js';
import { fetchPrompt, labelOf, promptText, session } from './session.js';
import { state } from './state.js';
import { tokenStrip } from './tokens.js';
import { Work } from './work.js';

const PAGE = 60;
const SIDES = ['a', 'b'];
const NAMES = { a: 'A', b: 'B' };
const DEFAULT_B = 'The captain looked at the sea, and the whale looked back at the captain.';

/** Mean activation of every latent by layer: over all tokens but the special ones, or at one position. */
function means(prompt, at) {
  const found = new Map();
  const positions = at !== null ? [at] : prompt.tokens.flatMap((token, t) => (token.special ? [] : [t]));
  const over = positions.length ? positions : [0];
  for (const t of over) {
    prompt.each(t, (l, latent, value) => {
      let row = found.get(latent);
      if (!row) found.set(latent, row = new Array(prompt.layers.length).fill(0));
      row[l] += value / over.length;
    });
  }
  return found;
}

const sum = (list) => list.reduce((total, x) => total + x, 0);

function differences(a, b, atA, atB) {
  const [first, second] = [means(a, atA), means(b, atB)];
  const none = new Array(a.layers.length).fill(0);
  return [...new Set([...first.keys(), ...second.keys()])].map((latent) => {
    const [va, vb] = [first.get(latent) ?? none, second.get(latent) ?? none];
    return { latent, a: va, b: vb, totalA: sum(va), totalB: sum(vb), difference: sum(vb) - sum(va), label: a.about(latent).label || b.about(latent).label };
  });
}

const ORDER = {
  size: (x, y) => Math.abs(y.difference) - Math.abs(x.difference), b: (x, y) => y.difference - x.difference, a: (x, y) => x.difference - y.difference,
  both: (x, y) => Math.min(y.totalA, y.totalB) - Math.min(x.totalA, x.totalB),
};

export function comparePrompts() {
  const prompts = { a: null, b: null };
  const asked = { a: null, b: null };
  let order = 'size';
  let shownRows = PAGE;
  let rows = [];
  let drawn = '';
  const text = (side) => state.values[side] ?? (side === 'a' ? promptText() : DEFAULT_B);

  const sides = Object.fromEntries(SIDES.map((side) => {
    const work = new Work();
    const area = h('textarea', { id: `compare-${side}`, rows: 3, spellcheck: false, title: `The text ${NAMES[side]}` });
    const strip = tokenStrip({ id: `compare-tokens-${side}`, label: `Tokens of prompt ${NAMES[side]}`,
      onHold: (position) => state.go({ [`at_${side}`]: state.values[`at_${side}`] === position ? null : position }) });
    const next = h('div', {});
    return [side, { work, area, strip, next, written: null }];
  }));

  async function fetchSide(side, wanted) {
    asked[side] = wanted;
    const prompt = await sides[side].work.run(`Running the model on prompt ${NAMES[side]}`,
      (options) => fetchPrompt(wanted, { view: `compare-${side}`, ...options }), { retry: () => fetchSide(side, wanted) });
    if (!prompt) return;
    prompts[side] = prompt;
    draw();
  }

  function submit() {
    const patch = {};
    for (const side of SIDES) {
      const typed = sides[side].area.value;
      if (typed !== text(side)) Object.assign(patch, { [side]: typed, [`at_${side}`]: null });
      else if (prompts[side]?.text !== typed) fetchSide(side, typed);
    }
    state.go(patch);
  }

  const sort = select([['size', 'Largest difference'], ['b', 'More in B'], ['a', 'More in A'], ['both', 'Active in both']], order, (value) => {
    order = value;
    shownRows = PAGE;
    draw();
  }, { id: 'compare-sort', title: 'The order of the latents' });
  const dense = checkbox('Hide dense latents', 'Hide latents that are active on more than 1 % of tokens', (value) => state.set({ dense: value }), { id: 'compare-dense' });
  const facts = h('div', {});
  const about = h('p', { class: 'quiet small', id: 'compare-note' });
  const list = h('div', {});
  const result = h('div', { class: 'stack', id: 'compare-result' },
    panel('Prompts', h('div', { class: 'columns' }, SIDES.map((side) => h('div', { class: 'stack' },
      h('h3', {}, `Prompt ${NAMES[side]}`), sides[side].strip.element))),
    note('Click a token in each to compare these two positions; click it again to compare the means over all tokens but special ones.'), facts),
    card('Latents', h('div', { class: 'row' }, h('label', { for: 'compare-sort' }, 'Sort by'), h('span', {}, sort), dense.element), about, list),
    card('Next token', h('div', { class: 'columns' }, SIDES.map((side) => sides[side].next))));
  const areas = SIDES.map((side) => h('div', { class: 'field' }, h('label', { for: `compare-${side}` }, `Prompt ${NAMES[side]}`), sides[side].area, sides[side].work.element));
  for (const side of SIDES) {
    sides[side].area.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) submit();
    });
  }
  const element = h('div', { class: 'stack' }, panel('Texts', h('div', { class: 'columns' }, areas),
    h('div', { class: 'row' }, button('Compare', 'Run the model on both texts (Ctrl+Enter)', submit, { id: 'compare-run', class: 'primary' }))), result);

  const at = (side) => (prompts[side] && state.values[`at_${side}`] !== null ? Math.min(state.values[`at_${side}`], prompts[side].length - 1) : null);

  function drawFacts({ a, b }) {
    const line = (name, x, y, show = number) => h('tr', {}, h('th', { scope: 'row' }, name), right(show(x)), right(show(y)),
      right(x == null || y == null ? '–' : signed(y - x)));
    fill(facts, table(null, 'Loss and error', ['', 'A', 'B', 'B − A'], [line('Tokens', a.length, b.length, count), line('Loss (nats per token)', a.loss, b.loss), a.layers.map((layer, l) => line(`FVU at layer ${layer}`, a.fvu[l], b.fvu[l]))]));
  }

  function drawTable({ a, b }) {
    const seen = rows.slice(0, shownRows);
    const top = Math.max(0, ...rows.flatMap((row) => row.a.map((x, l) => Math.abs(row.b[l] - x)))) || 1;
    const cell = (row, layer, l) => h('td', { class: 'right', data: { ...difference((row.b[l] - row.a[l]) / top), value: row.b[l] - row.a[l] },
      title: `Layer ${layer}: A ${number(row.a[l])}, B ${number(row.b[l])}` }, row.a[l] || row.b[l] ? signed(row.b[l] - row.a[l]) : '');
    const heads = ['Latent', ...a.layers.map((layer) => `Layer ${layer}`), 'Sum A', 'Sum B', 'B − A', 'Density'];
    fill(list, seen.length ? table('compare-table', 'Differences by layer', heads, seen.map((row) => h('tr', { data: { latent: row.latent } }, h('th', { scope: 'row' }, latentLink(row.latent, row.label)), a.layers.map((layer, l) => cell(row, layer, l)),
        right(number(row.totalA)), right(number(row.totalB)), right(signed(row.difference)),
        right(percent(density({ a, b }, row.latent))))), 'data heat') : empty('No latent is left. Show dense latents, or choose other tokens.'),
    rows.length > seen.length && button('Show more', 'Show the next rows', () => {
      shownRows += PAGE;
      drawTable({ a, b });
    }));
  }

  const density = ({ a, b }, latent) => a.about(latent).density ?? b.about(latent).density;

  function draw() {
    const ready = SIDES.every((side) => prompts[side]?.text === text(side));
    result.hidden = !ready;
    if (!ready) return;
    const [atA, atB] = SIDES.map(at);
    for (const side of SIDES) {
      const prompt = prompts[side];
      sides[side].strip.update({ tokens: prompt.tokens, chosen: (t) => t === at(side), active: at(side), title: (t) => (prompt.losses[t] == null ? '' : `loss ${number(prompt.losses[t])}`) });
      const position = at(side) ?? prompt.length - 1;
      fill(sides[side].next, probabilities(prompt.next[position], { id: `compare-next-${side}`, caption: `Prompt ${NAMES[side]}`, note: `After position ${position} ${quoted(prompt.tokens[position].text)}.` }));
    }
    const key = JSON.stringify([prompts.a.text, prompts.b.text, atA, atB, order, state.values.dense, [...session.labels]]);
    if (key !== drawn) {
      drawn = key;
      shownRows = PAGE;
      rows = differences(prompts.a, prompts.b, atA, atB).filter(({ latent }) => !state.values.dense || !(density(prompts, latent) > 0.01)).sort(ORDER[order]);
      const place = (side) => (at(side) === null ? 'mean over its tokens' : `position ${at(side)} ${quoted(prompts[side].tokens[at(side)].text)}`);
      about.textContent = `${plural(rows.length, 'latent')}. A: ${place('a')}; B: ${place('b')}. Each cell is the activation in B minus that in A.`;
      drawFacts(prompts);
    }
    drawTable(prompts);
  }

  return {
    element,
    update() {
      dense.box.checked = state.values.dense;
      for (const side of SIDES) {
        const wanted = text(side);
        if (sides[side].written !== wanted) {
          sides[side].written = wanted;
          sides[side].area.value = wanted;
        }
        if (prompts[side]?.text !== wanted && asked[side] !== wanted) fetchSide(side, wanted);
      }
      draw();
    },
    shown() {
      if (result.hidden) return null;
      const records = rows.map((row) => ({ latent: row.latent, label: labelOf(row.latent, row.label), sum_a: row.totalA, sum_b: row.totalB, difference: row.difference,
        ...Object.fromEntries(prompts.a.layers.flatMap((layer, l) => [[`a_layer_${layer}`, row.a[l]], [`b_layer_${layer}`, row.b[l]]])) }));
      return { name: 'compare-prompts', rows: records, data: { a: text('a'), b: text('b'), position_a: at('a'), position_b: at('b'), latents: records } };
    },
  };
}
