// How large the activations of one latent are, at each layer.

import { histogram } from './charts.js';
import { h, note } from './dom.js';
import { count, number, percent } from './format.js';
import { empty } from './links.js';

const sum = (list) => list.reduce((total, x) => total + x, 0);

/** In words: how many there are, and the commonest size. */
function described(layer, values, edges) {
  const all = sum(values);
  if (all === 0) return `Layer ${layer}: never active`;
  const most = values.indexOf(Math.max(...values));
  return `Layer ${layer}: ${count(all)} activations, most often from ${number(edges[most])} to ${number(edges[most + 1])}`;
}

/** A row a layer. `answer` is what is known of a latent. */
export function latentHistograms({ by_layer: layers, histograms }) {
  if (!histograms) {
    return empty('How large the activations of this latent are is not known here. In a notebook, ', h('code', {}, 'max_activations'),
      ' counts them at each layer, and ', h('code', {}, 'AppServer::statistics'), ' shows them on this page.');
  }
  const { edges, values, density } = histograms;
  const top = Math.max(...values.flat());
  if (top === 0) return empty('This latent was never active in the texts that were counted.');
  return [
    note('How many of its activations have each size (logarithmic), in bins that all layers share.'),
    h('ul', { class: 'histogram-list', id: 'latent-histograms' }, layers.map(({ layer }, l) => h('li', { class: 'histogram-row still', data: { layer, count: sum(values[l]) } },
      h('div', { class: 'histogram-name' }, h('b', {}, `layer ${layer}`), h('span', { class: 'quiet small' }, `${percent(density[l])} of tokens`)),
      histogram(values[l], edges, null, top, described(layer, values[l], edges))))),
  ];
}
