//! Training of one autoencoder on the streams of several layers.

use super::fit_options::MlsaeOptions;
use super::layers_source::LayersSource;
use super::lens::lens_identity;
use super::mlsae::Mlsae;
use crate::data::text::Tokens;
use crate::model::Decoder;
use crate::progress::OnStop;
use crate::sae::{
    Architecture, FitPlace, Normalization, Origin, Sae, SaeOptions, TrainingRecord, model_name,
};
use crate::train::History;
use crate::{Error, Result};

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
    /// and everything else is as in [`Sae::fit`]: the history, checkpoints, seeds, Stop. With a `lens`,
    /// x is what it makes of the stream, and so is what errors are measured in; the result reads and
    /// writes streams [through it](Mlsae::with_lens). After Lawson et al. (2024), whose data are not
    /// shuffled.
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
    /// As [`Sae::fit`] and [`Mlsae::new`]; [`Error::Invalid`] for a `target`, or a `lens` of another
    /// model; [`Error::Stopped`] when Stop is pressed, after which `stopped::<(Mlsae, History)>()` returns the autoencoder as far as
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
        if let Some(lens) = &options.lens {
            lens.check_model(model)?;
        }
        let inner = SaeOptions { on_stop: OnStop::ReturnPartial, ..options.sae.clone() };
        let source = LayersSource::new(model, text, &layers, options)?;
        let skip = &options.sae.skip_tokens;
        let training = TrainingRecord {
            layers: Some(layers.clone()),
            tuned_lens: options.lens.is_some(),
            ..TrainingRecord::of_fit(model.dtype(), options.sae.length, skip, Some(false))
        };
        let origin = Origin { model: model_name(model), training, ..Origin::default() };
        let mut settings = format!(
            "after layers {layers:?}, standardize {}, {:?}, of {:?}",
            options.standardize,
            options.weighting,
            model.config()
        );
        if let Some(lens) = &options.lens {
            settings += &format!(", behind the lens {}", lens_identity(lens)?);
        }
        let place = FitPlace { origin: origin.clone(), settings, device: model.device() };
        let (sae, history) = Sae::fit_from(source, &inner, place)?;
        let normalization = match options.standardize {
            true => Normalization::LayerNorm,
            false => Normalization::None,
        };
        let architecture = Architecture { normalization, ..sae.architecture().clone() };
        let sae = Sae::new(architecture, sae.weights().clone())?.with_origin(origin);
        let mut mlsae = Self::new(model, &sae, &layers)?;
        if let Some(lens) = &options.lens {
            mlsae = mlsae.with_lens(lens)?;
        }
        if !history.interrupted {
            return Ok((mlsae, history));
        }
        let access = "`stopped::<(eigenlens::multilayer::Mlsae, eigenlens::train::History)>()?` \
                      gives the autoencoder as far as it was trained.";
        let what = "the training of the multi-layer autoencoder";
        options.sae.on_stop.end(what, (mlsae, history), access)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use candle_core::Device;

    use super::*;
    use crate::model::{Config, HookPoint, TunedLens};
    use crate::random::Rng;
    use crate::train::tests::assert_resumes;

    pub(crate) fn model() -> Decoder {
        let config = Config { vocab: 9, context: 16, ..Config::bilinear(3, 2, 8, 16) };
        Decoder::random(config, 0, &Device::Cpu).unwrap()
    }

    pub(crate) fn text() -> Tokens {
        Tokens::from((0..400).map(|i| (i * i % 9) as u32).collect::<Vec<_>>())
    }

    /// A lens that moves the stream after the first two layers.
    pub(crate) fn lens() -> TunedLens {
        let mut rng = Rng::seed(4);
        let mut random =
            |shape: &[usize]| (rng.normal(shape, &Device::Cpu).unwrap() * 0.1).unwrap();
        TunedLens::of_translators((0..3).map(|_| (random(&[8, 8]), random(&[8])))).unwrap()
    }

    pub(crate) fn options() -> MlsaeOptions {
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
    fn behind_a_lens_it_learns_what_the_lens_makes() {
        let (model, plain) = (model(), options());
        let fit = |lens: TunedLens| {
            let options = MlsaeOptions { lens: Some(lens), ..plain.clone() };
            Mlsae::fit(&model, &text(), &options).unwrap()
        };
        // A lens that changes nothing changes no bit.
        let (same, history) = fit(TunedLens::identity(&model).unwrap());
        let (without, expected) = Mlsae::fit(&model, &text(), &plain).unwrap();
        assert_eq!(history, expected);
        assert!(without.lens().is_none() && !without.sae().origin().training.tuned_lens);
        let flat = |own: &Mlsae| -> Vec<f32> {
            own.sae().weights().decoder.flatten_all().unwrap().to_vec1().unwrap()
        };
        assert_eq!(flat(&same), flat(&without));
        // Its reconstructions come back through the lens, and files keep it.
        let lens = lens();
        let (mlsae, _) = fit(lens.clone());
        assert!(mlsae.lens().is_some() && mlsae.sae().origin().training.tuned_lens);
        assert!(flat(&mlsae) != flat(&without));
        let tokens = text().windows(4, 16, &Device::Cpu).unwrap();
        let points = [0, 1, 2].map(HookPoint::ResidPost);
        let cache = model.activations(&tokens, &points).unwrap();
        let streams = points.map(|point| cache.tensor(point).unwrap());
        let unexplained = |own: &Mlsae| -> f64 {
            let each = points.iter().zip(&streams).map(|(point, stream)| {
                let seen = lens.transform(stream, *point).unwrap();
                own.at(point.layer().unwrap()).unwrap().check(&seen).unwrap().fvu
            });
            each.sum()
        };
        let [own, other] = [&mlsae.without_lens(), &without].map(unexplained);
        assert!(own < 0.8 * other, "{own} and {other} of one that was trained without a lens");
        let folder = tempfile::tempdir().unwrap();
        mlsae.save(folder.path(), candle_core::DType::F32).unwrap();
        let read = Mlsae::load(folder.path(), &model).unwrap();
        let [found, expected] = [&read, &mlsae].map(|own| own.reconstruct(&streams).unwrap());
        for (found, expected) in found.iter().zip(&expected) {
            let gap = (found - expected).unwrap().abs().unwrap().max_all().unwrap();
            assert!(gap.to_scalar::<f32>().unwrap() < 1e-5);
        }
    }

    #[test]
    fn a_checkpoint_knows_its_lens() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = MlsaeOptions { lens: Some(lens()), ..options() };
        options.sae.checkpoint = Some(folder.path().join("fit"));
        Mlsae::fit(&model(), &text(), &options).unwrap();
        options.lens = Some(lens().variant(crate::model::LensVariant::Original));
        assert!(Mlsae::fit(&model(), &text(), &options).is_err());
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
        let two = lens().translators().into_iter().take(2);
        let two = Some(TunedLens::of_translators(two).unwrap());
        let error = message(MlsaeOptions { lens: two, ..options() });
        assert!(error.contains("3 layers of width 8"), "{error}");
        let mut skip = options();
        skip.sae.skip_tokens = (0..9).collect();
        assert!(message(skip).contains("`skip_tokens`"));
    }
}
