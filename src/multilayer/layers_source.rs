//! Activations of several layers in random order.

use candle_core::DType;

use super::fit_options::{LayerWeighting, MlsaeOptions};
use crate::data::text::Tokens;
use crate::model::{Decoder, HookPoint};
use crate::random::Rng;
use crate::sae::{Batch, FitSource, SaeOptions, Widths, buffer_of, mean_row, root_mean_square};
use crate::{Error, Result};

/// Windows of text that go through the model at a time.
const WINDOWS: usize = 8;
/// What is added to a row's standard deviation before it divides, as the autoencoder does.
const EPS: f32 = 1e-5;

/// A buffer of activations of several layers, in random order. Each is handed out once.
pub(super) struct LayersSource<'a> {
    model: &'a Decoder,
    text: &'a Tokens,
    points: Vec<HookPoint>,
    options: &'a MlsaeOptions,
    /// How often the buffer was filled.
    fills: usize,
    width: usize,
    values: Vec<f32>,
    /// What each row's squared errors weigh.
    weights: Vec<f32>,
    /// 1 over the variance of each layer's activations, so that their mean is 1; empty before it
    /// was measured.
    layer_weights: Vec<f32>,
    /// What activations that are not standardised were divided by.
    scale: f32,
    next: usize,
}

impl<'a> LayersSource<'a> {
    pub(super) fn new(
        model: &'a Decoder,
        text: &'a Tokens,
        layers: &[usize],
        options: &'a MlsaeOptions,
    ) -> Result<Self> {
        options.sae.check_text(text)?;
        let (buffer, width) = (options.sae.buffer, model.config().d_model);
        let mut source = Self {
            model,
            text,
            points: layers.iter().map(|layer| HookPoint::ResidPost(*layer)).collect(),
            options,
            fills: 0,
            width,
            values: buffer_of(buffer, width)?,
            weights: vec![1.0; buffer],
            layer_weights: Vec::new(),
            scale: 1.0,
            next: 0,
        };
        source.layer_weights = source.measured()?;
        source.fill()?;
        if !options.standardize {
            let scale = root_mean_square(&source.values);
            if !scale.is_normal() {
                let what = "the root mean square of the activations";
                return Err(Error::invalid(what, "a finite number above 0", scale));
            }
            source.scale = scale;
            source.values.iter_mut().for_each(|x| *x /= scale);
        }
        Ok(source)
    }

    /// The streams after all layers for windows enough for `left` tokens, `[positions, d]` each, behind
    /// the lens if there is one, and the positions that are no tokens to skip.
    fn streams(&self, left: usize, rng: &mut Rng) -> Result<(Vec<Vec<f32>>, Vec<usize>)> {
        let size = [left, WINDOWS];
        let (cache, kept) =
            self.options.sae.draw(self.model, self.text, &self.points, size, rng)?;
        let flat = |point: &HookPoint| -> Result<Vec<f32>> {
            let stream = cache.get(*point)?;
            let seen = match &self.options.lens {
                Some(lens) => lens.transform(stream, *point)?,
                None => stream.clone(),
            };
            Ok(seen.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
        };
        Ok((self.points.iter().map(flat).collect::<Result<_>>()?, kept))
    }

    /// 1 over the variance of each layer's activations about the means of dimensions, times the number
    /// that makes the mean 1; all 1 if layers weigh the same.
    fn measured(&self) -> Result<Vec<f32>> {
        if self.options.weighting == LayerWeighting::Equal {
            return Ok(vec![1.0; self.points.len()]);
        }
        // A stream of its own, which no filling has.
        let mut rng = Rng::stream(self.options.sae.seed, u64::MAX);
        let (streams, kept) = self.streams(usize::MAX, &mut rng)?;
        let d = self.width;
        let mut weights = Vec::with_capacity(streams.len());
        for (stream, point) in streams.iter().zip(&self.points) {
            let rows: Vec<f32> =
                kept.iter().flat_map(|row| &stream[row * d..][..d]).copied().collect();
            let mean = mean_row(&rows, d);
            let squares =
                rows.iter().zip(mean.iter().cycle()).map(|(x, m)| f64::from(x - m).powi(2));
            let variance = squares.sum::<f64>() / rows.len() as f64;
            if !(variance.is_finite() && variance > 0.0) {
                let what = format!("the variance of the activations at {point}");
                return Err(Error::invalid(what, "a finite number above 0", variance));
            }
            weights.push(1.0 / variance);
        }
        // Standardised errors are multiplied by each row's own variance, which is near the layer's.
        if !self.options.standardize {
            let mean = weights.iter().sum::<f64>() / weights.len() as f64;
            weights.iter_mut().for_each(|weight| *weight /= mean);
        }
        Ok(weights.into_iter().map(|weight| weight as f32).collect())
    }

    fn fill(&mut self) -> Result<()> {
        let SaeOptions { buffer, seed, .. } = self.options.sae;
        let (layers, d) = (self.points.len(), self.width);
        // A stream of its own for each filling, so that a fit can go on from any; stream 0 draws
        // the first weights.
        self.fills += 1;
        let mut rng = Rng::stream(seed, self.fills as u64);
        let order = rng.permutation(buffer);
        let mut filled = 0;
        while filled < buffer {
            let (streams, kept) = self.streams((buffer - filled).div_ceil(layers), &mut rng)?;
            let rows = kept.iter().flat_map(|row| (0..layers).map(move |layer| (*row, layer)));
            for ((row, layer), place) in rows.zip(&order[filled..]) {
                let from = &streams[layer][row * d..][..d];
                let to = &mut self.values[*place as usize * d..][..d];
                let weight = match self.options.standardize {
                    true => {
                        let deviation = standardise(from, to);
                        match self.options.weighting {
                            LayerWeighting::Variance => deviation * deviation,
                            LayerWeighting::Equal => 1.0,
                        }
                    }
                    false => {
                        to.iter_mut().zip(from).for_each(|(to, from)| *to = from / self.scale);
                        1.0
                    }
                };
                self.weights[*place as usize] = weight * self.layer_weights[layer];
            }
            filled = buffer.min(filled + kept.len() * layers);
        }
        self.next = 0;
        Ok(())
    }
}

/// Writes the row less its mean and divided by its standard deviation, which it returns.
fn standardise(row: &[f32], to: &mut [f32]) -> f32 {
    let d = row.len() as f64;
    let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / d;
    let squares = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>();
    let deviation = (squares / (d - 1.0).max(1.0)).sqrt() as f32;
    let mean = mean as f32;
    to.iter_mut().zip(row).for_each(|(to, x)| *to = (x - mean) / (deviation + EPS));
    deviation
}

impl FitSource for LayersSource<'_> {
    fn widths(&self) -> Widths {
        Widths { input: self.width, output: self.width }
    }

    fn scales(&self) -> [f32; 2] {
        [self.scale; 2]
    }

    fn means(&self) -> [Vec<f32>; 2] {
        let mean = mean_row(&self.values, self.width);
        [mean.clone(), mean]
    }

    fn next(&mut self) -> Result<Batch<'_>> {
        let SaeOptions { buffer, batch, .. } = self.options.sae;
        if self.next == buffer {
            self.fill()?;
        }
        let rows = batch.min(buffer - self.next);
        let start = self.next;
        self.next += rows;
        let x = &self.values[start * self.width..(start + rows) * self.width];
        Ok(Batch { rows, x, target: x, weights: Some(&self.weights[start..start + rows]) })
    }

    fn skip(&mut self, steps: usize) -> Result<()> {
        let (fills, next) = self.options.sae.place_after(steps);
        if fills > 0 {
            self.fills = fills;
            self.fill()?;
        }
        self.next = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::super::fit::tests::{lens, model, options, text};
    use super::*;

    #[test]
    fn behind_a_lens_rows_are_what_the_lens_makes() {
        let (model, text, lens) = (model(), text(), lens());
        let plain =
            MlsaeOptions { standardize: false, weighting: LayerWeighting::Equal, ..options() };
        let behind = MlsaeOptions { lens: Some(lens.clone()), ..plain.clone() };
        let point = HookPoint::ResidPost(1);
        let rows = |options: &MlsaeOptions| {
            let source = LayersSource::new(&model, &text, &[1], options).unwrap();
            let rows = Tensor::from_slice(&source.values, (256, 8), &Device::Cpu).unwrap();
            (rows * f64::from(source.scale)).unwrap()
        };
        // The same seed puts the same rows in the same places.
        let expected = lens.transform(&rows(&plain), point).unwrap();
        let gap = (rows(&behind) - expected).unwrap().abs().unwrap().max_all().unwrap();
        assert!(gap.to_scalar::<f32>().unwrap() < 1e-5);
    }

    #[test]
    fn every_activation_is_handed_out_with_its_weight() {
        let (model, text) = (model(), text());
        for (standardize, weighting) in [
            (true, LayerWeighting::Variance),
            (true, LayerWeighting::Equal),
            (false, LayerWeighting::Variance),
        ] {
            let options = MlsaeOptions { standardize, weighting, ..options() };
            let mut source = LayersSource::new(&model, &text, &[0, 2], &options).unwrap();
            let scale = source.scale;
            let (mut weights, mut squares) = (Vec::new(), 0.0);
            for _ in 0..4 {
                let batch = source.next().unwrap();
                assert_eq!((batch.rows, batch.x.len()), (64, 64 * 8));
                weights.extend(batch.weights.unwrap().to_vec());
                squares += batch.x.iter().map(|x| f64::from(x * x)).sum::<f64>();
            }
            // Rows of d numbers with a deviation of 1 (of divisor d − 1), or of a root mean square
            // of 1 all together.
            let each = squares / 256.0;
            let expected = if standardize { 7.0 } else { 8.0 };
            assert!((each - expected).abs() < 0.05, "{each}");
            assert_eq!(scale == 1.0, standardize);
            // A row's variance over dimensions is near the layer's about the means of dimensions.
            let mean = weights.iter().sum::<f32>() / 256.0;
            let bounds = if standardize { 0.5..2.0 } else { 0.99..1.01 };
            assert!(bounds.contains(&mean), "{mean}");
            let equal = weights.iter().all(|weight| *weight == 1.0);
            assert_eq!(equal, weighting == LayerWeighting::Equal);
        }
        let mut to = [0.0; 4];
        let deviation = standardise(&[1.0, 2.0, 3.0, 6.0], &mut to);
        assert!((f64::from(deviation) - (14f64 / 3.0).sqrt()).abs() < 1e-6);
        assert!((to[3] - 3.0 / deviation).abs() < 1e-5);
    }
}
