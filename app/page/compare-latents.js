// Two latents side by side: their numbers, layers, tokens and examples.

import { columns } from './charts.js';
import { card, field, fill, h, note, panel, right, table } from './dom.js';
import { exampleRow, fetchExamples } from './examples.js';
import { count, difference, number, percent, signed } from './format.js';
import { empty, latentLink } from './links.js';
import { scores } from './logits.js';
import { held, labelOf, latentDetails, session } from './session.js';
import { state } from './state.js';
import { Loader } from './work.js';

const SIDES = ['a', 'b'];
const EXAMPLES = 5;

export function compareLatents() {
  const { latents } = session.info.sae;
  const loader = new Loader(() => draw());
  const box = h('div', { class: 'stack', id: 'compare-latents-result' });
  const pick = (side) => {
    const input = h('input', { type: 'number', id: `latent-${side}`, min: 0, max: latents - 1, step: 1 });
    input.addEventListener('change', () => input.value !== '' && input.checkValidity() && state.go({ [`latent_${side}`]: Number(input.value) }));
    return input;
  };
  const inputs = { a: pick('a'), b: pick('b') };
  const element = h('div', { class: 'stack' }, panel('Latents', h('div', { class: 'row bottom' },
    SIDES.map((side) => field(`Latent ${side.toUpperCase()}`, inputs[side], `0 to ${latents - 1}`))), loader.element), box);
  let drawn = null;

  const pair = () => {
    const a = Math.min(state.values.latent_a ?? held().latent, latents - 1);
    return [a, Math.min(state.values.latent_b ?? (a + 1) % latents, latents - 1)];
  };

  async function fetchPair([a, b], options) {
    const details = await Promise.all([latentDetails(a, options), latentDetails(b, options)]);
    const known = session.info.data.examples !== null;
    const examples = known ? await Promise.all([a, b].map((latent) => fetchExamples(latent, { limit: EXAMPLES }, options))) : null;
    return { details, examples };
  }

  function numbers([a, b]) {
    const rows = [['Count', 'count', count], ['Density', 'density', percent], ['Mean layer', 'mean_layer', number], ['Std over layers', 'std', number],
      ['Entropy', 'entropy', number], ['Largest activation', 'max', number]];
    return table('compare-numbers', 'Numbers', ['', `A: ${a.latent}`, `B: ${b.latent}`, 'B − A'], rows.map(([name, key, show]) => h('tr', {}, h('th', { scope: 'row' }, name), right(show(a[key])), right(show(b[key])),
        right(a[key] == null || b[key] == null ? '–' : key === 'density' ? `${signed(100 * (b[key] - a[key]))} %` : signed(b[key] - a[key])))));
  }

  function byLayer([a, b]) {
    if (!a.by_layer.length || !b.by_layer.length) return empty('How these latents are distributed over layers is not known here.');
    const names = a.by_layer.map((row) => row.layer);
    const change = (x, y, show, i) => h('td', { class: 'right', data: i === undefined ? undefined : difference(i) }, x == null || y == null ? '–' : show(y - x));
    return [
      h('div', { class: 'row' }, h('span', { class: 'legend low' }, `A: latent ${a.latent}`), h('span', { class: 'legend' }, `B: latent ${b.latent}`)),
      columns(names, [{ name: `A: ${a.latent}`, values: a.by_layer.map((row) => row.share) }, { name: `B: ${b.latent}`, values: b.by_layer.map((row) => row.share) }],
        `Share of the summed activation by layer: latents ${a.latent} and ${b.latent}`),
      table('compare-layers', 'By layer', ['Layer', 'Share A', 'Share B', 'B − A', 'Mean A', 'Mean B', 'B − A', 'Max A', 'Max B'], a.by_layer.map((x, l) => {
          const y = b.by_layer[l];
          return h('tr', { data: { layer: x.layer } }, h('th', { scope: 'row' }, `layer ${x.layer}`), right(percent(x.share)), right(percent(y.share)),
            change(x.share, y.share, (d) => `${signed(100 * d)} %`, y.share - x.share), right(number(x.mean)), right(number(y.mean)), change(x.mean, y.mean, signed), right(number(x.max)), right(number(y.max)));
        }))];
  }

  function cosine([a, b]) {
    const found = (kind) => a.nearest[kind].find((row) => row.latent === b.latent)?.cosine ?? b.nearest[kind].find((row) => row.latent === a.latent)?.cosine;
    const shown = ['decoder', 'encoder'].filter((kind) => found(kind) != null).map((kind) => `${kind} ${number(found(kind))}`);
    return shown.length ? `Cosine between them: ${shown.join(', ')}.` : 'Neither is among the nearest latents of the other.';
  }

  function shared([a, b]) {
    const ids = new Set(b.promoted.map((row) => row.token));
    const both = a.promoted.filter((row) => ids.has(row.token));
    return h('p', {}, both.length ? 'Promoted by both: ' : 'No token is among the most promoted of both.', both.map((row) => [h('span', { class: 'token' }, row.text), ' ']));
  }

  function draw() {
    const key = JSON.stringify(pair());
    const answer = loader.get(key);
    box.hidden = !answer;
    if (!answer || drawn === answer) return;
    drawn = answer;
    const { details, examples } = answer;
    fill(box,
      panel('Numbers', h('h2', {}, latentLink(details[0].latent, details[0].label), ' and ', latentLink(details[1].latent, details[1].label)),
        note(cosine(details)), numbers(details)),
      panel('Layers', h('h2', {}, 'Distribution over layers'), byLayer(details)),
      card('Tokens', shared(details), h('div', { class: 'columns four' }, details.flatMap((one, i) => [
        scores(one.promoted, { id: `promoted-${SIDES[i]}`, caption: `Promoted by ${one.latent}` }), scores(one.suppressed, { id: `suppressed-${SIDES[i]}`, caption: `Suppressed by ${one.latent}` })]))),
      examples && card('Examples', h('div', { class: 'columns' }, examples.map((one, i) => h('div', {},
        h('h3', {}, `Latent ${details[i].latent}`), one.rows.length ? h('ol', { class: 'examples' }, one.rows.map(exampleRow)) : empty('No example is kept.'))))));
  }

  return {
    element,
    update() {
      const now = pair();
      SIDES.forEach((side, i) => {
        if (document.activeElement !== inputs[side]) inputs[side].value = now[i];
      });
      const key = JSON.stringify(now);
      loader.load(key, 'Fetching both latents', (options) => fetchPair(now, options));
      draw();
    },
    shown() {
      const answer = loader.get(JSON.stringify(pair()));
      if (!answer) return null;
      const [a, b] = answer.details.map((one) => ({ ...one, label: labelOf(one.latent, one.label) }));
      return { name: 'compare-latents', data: { a, b }, rows: a.by_layer.map((x, l) => ({ layer: x.layer, share_a: x.share, share_b: b.by_layer[l]?.share, mean_a: x.mean, mean_b: b.by_layer[l]?.mean })) };
    },
  };
}
