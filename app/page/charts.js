// Small charts in SVG. Colours come from classes of the style sheet.

import { h, svg } from './dom.js';
import { number, percent } from './format.js';

/** Bars side by side, without axes: a profile over layers or positions. */
export function sparkline(values, label, { width = 64, height = 22, max = Math.max(...values, 0) } = {}) {
  if (!values.length) return h('span', { class: 'quiet' }, '–');
  const bar = width / values.length;
  const gap = Math.min(1, bar / 6);
  const path = values.map((value, i) => {
    const tall = max > 0 ? Math.max(value > 0 ? 1 : 0, (value / max) * (height - 1)) : 0;
    return tall ? `M${(i * bar + gap / 2).toFixed(2)} ${height - 1}v${(-tall).toFixed(2)}h${(bar - gap).toFixed(2)}v${tall.toFixed(2)}z` : '';
  }).join('');
  return svg('svg', { class: 'spark', viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': label },
    svg('title', {}, label), svg('path', { class: 'bar', d: path }), svg('path', { class: 'axis', d: `M0 ${height - 0.5}h${width}` }));
}

/** A horizontal bar of 0 to 1 beside a number. */
export function meter(share, { lower = false } = {}) {
  const long = Math.max(0, Math.min(1, share || 0)) * 100;
  return svg('svg', { class: 'meter', viewBox: '0 0 100 8', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    svg('rect', { class: 'track', width: 100, height: 8, rx: 1 }), svg('rect', { class: lower ? 'bar low' : 'bar', width: long, height: 8, rx: 1 }));
}

/** Columns over labelled layers; of two series `[{name, values}]` of shares the first is orange, as A is in differences. */
export function columns(labels, series, label, axis = 'layer') {
  const width = 480;
  const height = 170;
  const left = 56;
  const bottom = 34;
  const max = Math.max(0, ...series.flatMap(({ values }) => values)) || 1;
  const slot = (width - left) / labels.length;
  const wide = Math.min(38, (slot * 0.8) / series.length);
  const y = (value) => (height - bottom) - (value / max) * (height - bottom - 10);
  const every = Math.ceil(labels.length / 16);
  return svg('svg', { class: 'chart', viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label },
    [0, max / 2, max].map((value) => [
      svg('path', { class: 'grid', d: `M${left} ${y(value)}H${width}` }),
      svg('text', { x: left - 5, y: y(value) + 4, 'text-anchor': 'end' }, percent(value).replace(' ', ' '))]),
    labels.map((name, i) => i % every === 0 && svg('text', { x: left + slot * (i + 0.5), y: height - 18, 'text-anchor': 'middle' }, String(name))),
    svg('text', { x: left + (width - left) / 2, y: height - 3, 'text-anchor': 'middle' }, axis),
    series.map(({ name, values }, s) => values.map((value, i) => svg('rect', {
      class: series.length > 1 && s === 0 ? 'bar low' : 'bar', x: left + slot * (i + 0.5) + (s - series.length / 2) * wide, y: y(value || 0), width: Math.max(1, wide - 1),
      height: Math.max(0, height - bottom - y(value || 0)),
    }, svg('title', {}, `${name}, ${axis} ${labels[i]}: ${percent(value)}`)))));
}

/** Sign and logarithm, straight near 0, so that counts of 0 have a place. */
const symlog = (x) => Math.log10(1 + x);

/** A step area of a layer's counts, with the bin of zeros apart on the left unless `zeros` is null. */
export function histogram(values, edges, zeros, top, label) {
  const width = 640;
  const height = 74;
  const left = zeros === null ? 4 : 58; // the bin of zeros takes the first 40
  const base = height - 16;
  const scale = symlog(Math.max(top, 1));
  const y = (count) => base - (symlog(count) / scale) * (base - 6);
  const bin = (width - left) / values.length;
  const path = values.map((count, i) => `${i ? 'V' : 'M'}${i ? '' : `${left} ${base}V`}${y(count).toFixed(1)}H${(left + bin * (i + 1)).toFixed(1)}`).join('');
  const last = edges[edges.length - 1];
  return svg('svg', { class: 'chart histogram', viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label },
    svg('title', {}, label),
    zeros !== null && [svg('rect', { class: 'bar zero', x: 4, width: 36, y: y(zeros), height: base - y(zeros) }),
      svg('text', { x: 22, y: height - 3, 'text-anchor': 'middle' }, 'zero'), svg('path', { class: 'axis', d: `M4 ${base}H40` })],
    svg('path', { class: 'bar', d: `${path}V${base}Z` }),
    svg('path', { class: 'axis', d: `M${left} ${base}H${width}` }),
    [0, 0.25, 0.5, 0.75, 1].map((part) => svg('text', { class: part % 0.5 ? 'between' : null, x: left + (width - left) * part, y: height - 3,
      'text-anchor': part === 0 ? 'start' : part === 1 ? 'end' : 'middle' }, number(edges[0] + (last - edges[0]) * part, 2))));
}
