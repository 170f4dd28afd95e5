// A prompt and its codes: the activations of all latents at every layer and position, sparse.

const KEPT_MAPS = 16;

export class Prompt {
  constructor(text, answer) {
    this.text = text;
    this.id = answer.id;
    this.tokens = answer.tokens;
    this.layers = answer.layers;
    this.offsets = answer.codes.offsets;
    this.latents = answer.codes.latents;
    this.activations = answer.codes.values;
    this.max = answer.max;
    this.fvu = answer.fvu;
    this.loss = answer.loss;
    this.losses = answer.losses;
    this.next = answer.next;
    this.table = answer.latents;
    this.index = new Map(answer.latents.id.map((latent, i) => [latent, i]));
    this.maps = new Map();
  }

  get length() {
    return this.tokens.length;
  }

  /** First and last-plus-one entry of a layer (by its index) and position. */
  row(l, t) {
    const r = l * this.length + t;
    return [this.offsets[r], this.offsets[r + 1]];
  }

  /** The activation of a latent, 0 if it does not fire. */
  value(l, t, latent) {
    let [low, high] = this.row(l, t);
    const end = high;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.latents[middle] < latent) low = middle + 1;
      else high = middle;
    }
    return low < end && this.latents[low] === latent ? this.activations[low] : 0;
  }

  /** The activations of a latent, layer after layer. */
  values(latent) {
    let map = this.maps.get(latent);
    if (map) return map;
    map = new Float64Array(this.layers.length * this.length);
    for (let l = 0; l < this.layers.length; l += 1) {
      for (let t = 0; t < this.length; t += 1) map[l * this.length + t] = this.value(l, t, latent);
    }
    if (this.maps.size >= KEPT_MAPS) this.maps.delete(this.maps.keys().next().value);
    this.maps.set(latent, map);
    return map;
  }

  /** The activation over the largest of any latent there: 0 to 1. */
  relative(l, t, latent) {
    const max = this.max[l][t];
    return max > 0 ? this.value(l, t, latent) / max : 0;
  }

  /** The latent that is most active at a layer and position, or null. */
  strongest(l, t) {
    const [start, end] = this.row(l, t);
    let best = null;
    for (let i = start; i < end; i += 1) {
      if (best === null || this.activations[i] > this.activations[best]) best = i;
    }
    return best === null ? null : this.latents[best];
  }

  /** What is known of a latent over many texts; nulls where nothing is. */
  about(latent) {
    const i = this.index.get(latent);
    const pick = (key) => (i === undefined ? null : this.table[key][i]);
    return { density: pick('density'), mean_layer: pick('mean_layer'), std: pick('std'), max: pick('max'), label: pick('label') ?? '' };
  }

  /** Every entry of a position: `fn(layer index, latent, activation)`. */
  each(t, fn) {
    for (let l = 0; l < this.layers.length; l += 1) {
      const [start, end] = this.row(l, t);
      for (let i = start; i < end; i += 1) fn(l, this.latents[i], this.activations[i]);
    }
  }
}
