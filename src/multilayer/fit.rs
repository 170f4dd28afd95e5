//! Training of one autoencoder on the streams of several layers.

use candle_core::DType;

use super::mlsae::Mlsae;
use crate::data::text::Tokens;
use crate::model::{Decoder, HookPoint};
use crate::progress::OnStop;
use crate::random::Rng;
use crate::sae::{
    Architecture, Batch, FitPlace, FitSource, Normalization, Origin, Sae, SaeOptions,
    TrainingRecord, Widths, mean_row, model_name, root_mean_square,
};
use crate::train::History;
use crate::{Error, Result};

/// Windows of text that go through the model at a time.
const WINDOWS: usize = 8;
/// What is added to a row's standard deviation before it divides, as the autoencoder does.
const EPS: f32 = 1e-5;

/// How [`Mlsae::fit`] trains.
#[derive(Debug, Clone, PartialEq)]
pub struct MlsaeOptions {
    /// Layers after which the stream is read; none: all of the model.
    pub layers: Option<Vec<usize>>,
    /// All other options. `batch` and `buffer` count activations, of which a token has one a layer.
    pub sae: SaeOptions,
    /// Whether every activation is centred and divided by its standard deviation over dimensions,
    /// because streams grow from layer to layer; true.
    pub standardize: bool,
    /// What the errors of a layer weigh.
    pub weighting: LayerWeighting,
}

/// What the squared errors of a layer's activations weigh in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LayerWeighting {
    /// 1 over the variance of the layer's activations about the mean of each dimension, measured once
    /// at the start: every layer's share of unexplained variance counts the same.
    #[default]
    Variance,
    /// Every activation as it is read counts the same: with `standardize`, each standardised one.
    Equal,
}

impl Default for MlsaeOptions {
    /// k 32, 16 latents for each dimension, all layers, as in Lawson et al. (2024).
    fn default() -> Self {
        let sae = SaeOptions { expansion: 16, k: 32, ..SaeOptions::default() };
        Self { layers: None, sae, standardize: true, weighting: LayerWeighting::default() }
    }
}

impl Mlsae {
    /// Trains one autoencoder on the residual stream after several layers of a model. Activations of
    /// all layers are shuffled together in one buffer. With the activation x of a token after layer l,
    /// its mean μ and standard deviation s over dimensions, and z = (x − μ)/(s + 1e-5), what is made
    /// small is the mean over tokens and layers of
    ///
    /// ```text
    /// w_l ‖s (SAE(z) − z)‖²         w_l = 1 / Var(x after l)      (LayerWeighting::Variance)
    /// ‖SAE(z) − z‖²                                               (LayerWeighting::Equal)
    /// ```
    ///
    /// and everything else is as in [`Sae::fit`]: the history, checkpoints, seeds, Stop. After Lawson
    /// et al. (2024), whose data are not shuffled.
    ///
    /// ```
    /// use eigenlens::prelude::*;
    /// # fn main() -> Result<()> {
    /// # let config = Config { vocab: 9, context: 16, ..Config::bilinear(2, 2, 8, 16) };
    /// # let model = Decoder::random(config, 0, &Device::Cpu)?;
    /// # let text = Tokens::from((0..99).map(|i| i * i % 9).collect::<Vec<u32>>());
    /// let sae = SaeOptions { k: 4, steps: 20, batch: 64, buffer: 256, length: 16, ..SaeOptions::default() };
    /// let (mlsae, history) = Mlsae::fit(&model, &text, &MlsaeOptions { sae, ..MlsaeOptions::default() })?;
    /// println!("{mlsae}\n{history}");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Sae::fit`] and [`Mlsae::new`]; [`Error::Invalid`] for a `target`; [`Error::Stopped`] when
    /// Stop is pressed, after which `stopped::<(Mlsae, History)>()` returns the autoencoder as far as
    /// it was trained.
    pub fn fit(model: &Decoder, text: &Tokens, options: &MlsaeOptions) -> Result<(Self, History)> {
        options.sae.check()?;
        if let Some(target) = options.sae.target {
            return Err(Error::invalid("`target` of a multi-layer autoencoder", "none", target));
        }
        let layers = match &options.layers {
            Some(layers) => layers.clone(),
            None => (0..model.config().layers).collect(),
        };
        Self::check_layers(model, &layers)?;
        let inner = SaeOptions { on_stop: OnStop::ReturnPartial, ..options.sae.clone() };
        let source = LayersSource::new(model, text, &layers, options)?;
        let skip = &options.sae.skip_tokens;
        let training = TrainingRecord {
            layers: Some(layers.clone()),
            ..TrainingRecord::of_fit(model.dtype(), options.sae.length, skip)
        };
        let origin = Origin { model: model_name(model), training, ..Origin::default() };
        let settings = format!(
            "after layers {layers:?}, standardize {}, {:?}, of {:?}",
            options.standardize,
            options.weighting,
            model.config()
        );
        let place = FitPlace { origin: origin.clone(), settings, device: model.device() };
        let (sae, history) = Sae::fit_from(source, &inner, place)?;
        let normalization = match options.standardize {
            true => Normalization::LayerNorm,
            false => Normalization::None,
        };
        let architecture = Architecture { normalization, ..sae.architecture().clone() };
        let sae = Sae::new(architecture, sae.weights().clone())?.with_origin(origin);
        let mlsae = Self::new(model, &sae, &layers)?;
        if !history.interrupted {
            return Ok((mlsae, history));
        }
        let access = "`stopped::<(eigenlens::multilayer::Mlsae, eigenlens::train::History)>()?` \
                      gives the autoencoder as far as it was trained.";
        let what = "the training of the multi-layer autoencoder";
        options.sae.on_stop.end(what, (mlsae, history), access)
    }
}

/// A buffer of activations of several layers, in random order. Each is handed out once.
struct LayersSource<'a> {
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
    fn new(
        model: &'a Decoder,
        text: &'a Tokens,
        layers: &[usize],
        options: &'a MlsaeOptions,
    ) -> Result<Self> {
        let SaeOptions { buffer, skip_tokens, .. } = &options.sae;
        if !skip_tokens.is_empty() && text.as_slice().iter().all(|own| skip_tokens.contains(own)) {
            let expected = "tokens that leave some of the text";
            return Err(Error::invalid("`skip_tokens`", expected, format!("{skip_tokens:?}")));
        }
        let width = model.config().d_model;
        let size = buffer.checked_mul(width);
        let mut values: Vec<f32> = Vec::new();
        if size.is_none_or(|size| values.try_reserve_exact(size).is_err()) {
            let expected = format!("small enough for memory, 4 · {width} bytes for each of it");
            return Err(Error::invalid("the buffer", expected, buffer));
        }
        values.resize(buffer * width, 0.0);
        let mut source = Self {
            model,
            text,
            points: layers.iter().map(|layer| HookPoint::ResidPost(*layer)).collect(),
            options,
            fills: 0,
            width,
            values,
            weights: vec![1.0; *buffer],
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

    /// The streams after all layers for some windows, `[positions, d]` each, and the positions that
    /// are no tokens to skip.
    fn streams(&self, windows: usize, rng: &mut Rng) -> Result<(Vec<Vec<f32>>, Vec<usize>)> {
        let SaeOptions { length, skip_tokens, .. } = &self.options.sae;
        let tokens = self.text.draw(windows, *length, rng, self.model.device())?;
        let cache = self.model.activations(&tokens, &self.points)?;
        let tokens: Vec<u32> = tokens.flatten_all()?.to_vec1()?;
        let kept = (0..tokens.len()).filter(|row| !skip_tokens.contains(&tokens[*row])).collect();
        let flat = |point: &HookPoint| -> Result<Vec<f32>> {
            Ok(cache.get(*point)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
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
        let (streams, kept) = self.streams(WINDOWS, &mut rng)?;
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
        let SaeOptions { buffer, length, skip_tokens, seed, .. } = &self.options.sae;
        let (buffer, layers, d) = (*buffer, self.points.len(), self.width);
        // A stream of its own for each filling, so that a fit can go on from any; stream 0 draws
        // the first weights.
        self.fills += 1;
        let mut rng = Rng::stream(*seed, self.fills as u64);
        let order = rng.permutation(buffer);
        let mut filled = 0;
        while filled < buffer {
            let windows = match skip_tokens.is_empty() {
                true => (buffer - filled).div_ceil(layers * (*length).max(1)).min(WINDOWS),
                false => WINDOWS,
            };
            let (streams, kept) = self.streams(windows, &mut rng)?;
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
        let SaeOptions { buffer, batch, .. } = self.options.sae;
        let per_fill = buffer.div_ceil(batch);
        if steps >= per_fill {
            self.fills = steps / per_fill;
            self.fill()?;
        }
        self.next = steps % per_fill * batch;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, IndexOp, Tensor};

    use super::*;
    use crate::model::Config;
    use crate::train::tests::assert_resumes;

    fn model() -> Decoder {
        let config = Config { vocab: 9, context: 16, ..Config::bilinear(3, 2, 8, 16) };
        Decoder::random(config, 0, &Device::Cpu).unwrap()
    }

    fn text() -> Tokens {
        Tokens::from((0..400).map(|i| (i * i % 9) as u32).collect::<Vec<_>>())
    }

    fn options() -> MlsaeOptions {
        let sae = SaeOptions {
            expansion: 4,
            k: 3,
            steps: 60,
            batch: 64,
            buffer: 256,
            length: 16,
            learning_rate: 0.01,
            report: 20,
            ..SaeOptions::default()
        };
        MlsaeOptions { sae, ..MlsaeOptions::default() }
    }

    #[test]
    fn it_learns_all_layers_and_a_seed_repeats_it_exactly() {
        let model = model();
        let (mlsae, history) = Mlsae::fit(&model, &text(), &options()).unwrap();
        assert_eq!(mlsae.layers(), [0, 1, 2]);
        let column = history.column("nmse").unwrap();
        assert!(column[2] < 0.7 * column[0], "{history}");
        let (again, same) = Mlsae::fit(&model, &text(), &options()).unwrap();
        assert_eq!(history, same);
        let flat = |mlsae: &Mlsae| -> Vec<f32> {
            mlsae.sae().weights().encoder.flatten_all().unwrap().to_vec1().unwrap()
        };
        assert_eq!(flat(&mlsae), flat(&again));
        // In the units of the model's stream, at every layer.
        let tokens = text().windows(4, 16, &Device::Cpu).unwrap();
        for layer in 0..3 {
            let point = HookPoint::ResidPost(layer);
            let cache = model.activations(&tokens, &[point]).unwrap();
            let checked = mlsae.at(layer).unwrap().check(cache.get(point).unwrap()).unwrap();
            assert!(checked.fvu < 0.6, "layer {layer}: {checked}");
        }
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
        let row = Tensor::new(&[[1f32, 2.0, 3.0, 6.0]], &Device::Cpu).unwrap().i(0).unwrap();
        let row: Vec<f32> = row.to_vec1().unwrap();
        let mut to = [0.0; 4];
        let deviation = standardise(&row, &mut to);
        assert!((f64::from(deviation) - (14f64 / 3.0).sqrt()).abs() < 1e-6);
        assert!((to[3] - 3.0 / deviation).abs() < 1e-5);
    }

    #[test]
    fn a_fit_that_was_cut_off_ends_with_the_same_weights() {
        assert_resumes(&[(19, 0), (47, 40)], 60, |checkpoint| {
            let on_stop = OnStop::ReturnPartial;
            let mut options = options();
            options.sae = SaeOptions { checkpoint, on_stop, ..options.sae };
            let (mlsae, history) = Mlsae::fit(&model(), &text(), &options).unwrap();
            let weights: Vec<f32> =
                mlsae.sae().weights().decoder.flatten_all().unwrap().to_vec1().unwrap();
            (history, weights)
        });
    }

    #[test]
    fn what_cannot_be_trained_is_named() {
        let message = |options: MlsaeOptions| {
            Mlsae::fit(&model(), &text(), &options).unwrap_err().to_string()
        };
        let layers = |layers: &[usize]| Some(layers.to_vec());
        assert!(
            message(MlsaeOptions { layers: layers(&[]), ..options() }).contains("at least one")
        );
        assert!(message(MlsaeOptions { layers: layers(&[3]), ..options() }).contains("below 3"));
        let mut target = options();
        target.sae.target = Some(HookPoint::MlpOut(0));
        assert!(message(target).contains("`target`"));
        let mut skip = options();
        skip.sae.skip_tokens = (0..9).collect();
        assert!(message(skip).contains("`skip_tokens`"));
    }
}
