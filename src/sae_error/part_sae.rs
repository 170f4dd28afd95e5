//! Autoencoders of the parts of an error, and of noise that has their covariance.

mod gaussian;

use std::fmt;

use candle_core::{DType, Device, Tensor};

use self::gaussian::GaussianSource;
use super::explained::Explained;
use super::linear_map::LinearMap;
use super::moments::Moments;
use super::rows::ErrorOrigin;
use crate::data::text::Tokens;
use crate::harvest::{sum_of_sae, sum_of_tensors};
use crate::model::HookPoint;
use crate::sae::{FitPlace, Note, Origin, Sae, SaeOptions, TrainingRecord, model_name};
use crate::train::History;
use crate::{Error, Result};

/// A part of the error `e = x − x̂` of an autoencoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it, e.
    Error,
    /// What a linear map of the activation predicts, `xA + b`.
    Linear,
    /// The rest, `e − xA − b`.
    Nonlinear,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "the error",
            Self::Linear => "the linear part of the error",
            Self::Nonlinear => "the nonlinear part of the error",
        })
    }
}

impl Part {
    /// What an autoencoder of it reads, as its record says it.
    pub(super) fn reads(self) -> String {
        self.to_string()
    }

    /// What an autoencoder of noise like it reads.
    pub(super) fn reads_noise(self) -> String {
        format!("Gaussian noise with the covariance of {self}")
    }

    /// The part for activations `x` `[n, d]`, in f32.
    ///
    /// # Errors
    /// As [`Sae::reconstruct`] and [`LinearMap::apply`].
    pub(super) fn of(self, sae: &Sae, map: &LinearMap, x: &Tensor) -> Result<Tensor> {
        let x = x.to_dtype(DType::F32)?;
        Ok(match self {
            Self::Linear => map.apply(&x)?,
            Self::Error => (&x - sae.reconstruct(&x)?)?,
            Self::Nonlinear => ((&x - sae.reconstruct(&x)?)? - map.apply(&x)?)?,
        })
    }
}

impl Explained {
    /// Trains an autoencoder of a part of the error, as [`Sae::fit`] trains one of the activations. The
    /// linear part is that of the [map of all rows](Explained::map): the text should be another one.
    ///
    /// What comes out reads that part, and not the activations at its hook point:
    /// [`Explained::reader`] has its codes of a text.
    ///
    /// Compare it with [`Explained::fit_gaussian`]: an autoencoder finds features in noise too.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the model of the rows is not known, as those of
    /// [`SaeInfo`](super::SaeInfo) are; [`Error::Invalid`] for a `target`; as [`Sae::fit`].
    pub fn fit_sae(
        &self,
        part: Part,
        text: &Tokens,
        options: &SaeOptions,
    ) -> Result<(Sae, History)> {
        let PartOrigin { origin, point, name } = self.part_origin(part, options)?;
        let (sae, map) = (origin.sae.clone(), self.map().clone());
        let made = move |x: &Tensor| part.of(&sae, &map, x);
        let (found, history) =
            Sae::fit_mapped(&origin.model, point, text, options, (&name, &made))?;
        Ok((reading(found, part.reads()), history))
    }

    /// Trains an autoencoder of independent Gaussian vectors with the mean and covariance that a part
    /// of the error has over the rows: what of an autoencoder of the part is due to second moments
    /// alone. Of the options, `buffer`, `length` and what is skipped mean nothing here.
    ///
    /// # Errors
    /// As [`Explained::fit_sae`]; what reading the rows fails with.
    pub fn fit_gaussian(&self, part: Part, options: &SaeOptions) -> Result<(Sae, History)> {
        options.check()?;
        let PartOrigin { origin, point, name } = self.part_origin(part, options)?;
        let source = GaussianSource::new(self.part_moments(part)?, options)?;
        let made = Origin {
            point: Some(point),
            model: model_name(&origin.model),
            training: TrainingRecord::of_fit(DType::F32, options.length, &[], Some(false)),
            ..Origin::default()
        };
        let place = FitPlace {
            origin: made,
            settings: format!("Gaussian as {name} at {point}"),
            device: origin.model.device(),
        };
        let (found, history) = Sae::fit_from(source, options, place)?;
        Ok((reading(found, part.reads_noise()), history))
    }

    /// What a fit of a part belongs to.
    fn part_origin(&self, part: Part, options: &SaeOptions) -> Result<PartOrigin> {
        if let Some(target) = options.target {
            let what = "`target` of an autoencoder of a part of an error";
            return Err(Error::invalid(what, "none", target));
        }
        let origin = self.known_origin()?;
        let point = origin.sae.point()?;
        let map = self.map();
        let mut tensors = vec![("matrix", map.matrix(&Device::Cpu)?)];
        if let Some(b) = map.intercept() {
            tensors.push(("intercept", Tensor::new(b, &Device::Cpu)?));
        }
        let map = sum_of_tensors(tensors.iter().map(|(name, tensor)| (*name, tensor)))?;
        let name = format!("{part} of {} by {map}", sum_of_sae(&origin.sae)?);
        Ok(PartOrigin { origin, point, name })
    }

    /// The model and the autoencoder of the rows.
    pub(super) fn known_origin(&self) -> Result<ErrorOrigin> {
        self.rows().origin().ok_or_else(|| Error::NotFound {
            what: "the model and the autoencoder of these errors".to_owned(),
            hint: "Tensors alone do not know them: SaeInfo::collect and `info.explain()?` do."
                .to_owned(),
        })
    }

    /// Mean `[d]` and covariance `[d, d]` of a part over the rows, f64.
    fn part_moments(&self, part: Part) -> Result<(Vec<f64>, Tensor)> {
        let width = self.rows().width();
        let mut moments = Moments::of_inputs(width);
        let mut mean = Tensor::zeros(width, DType::F64, &Device::Cpu)?;
        self.rows().for_each_block(&mut |block| {
            let x = &block.activations;
            let own = match part {
                Part::Error => block.errors()?,
                Part::Linear => self.map().apply(x)?,
                Part::Nonlinear => (block.errors()? - self.map().apply(x)?)?,
            };
            let own = own.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
            mean = (&mean + own.sum(0)?)?;
            moments.add_inputs(&own)
        })?;
        let mean = (mean / self.rows().rows() as f64)?;
        Ok((mean.to_vec1()?, moments.covariance()?))
    }
}

/// What a fit of a part belongs to.
struct PartOrigin {
    origin: ErrorOrigin,
    point: HookPoint,
    /// Tells it from fits of other parts in a checkpoint.
    name: String,
}

/// The same autoencoder with a record and a note of what it reads.
fn reading(sae: Sae, reads: String) -> Sae {
    let mut origin = sae.origin().clone();
    origin.notes.push(Note::Other(format!("it reads {reads}, not the activation")));
    origin.training.reads = Some(reads);
    sae.with_origin(origin)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::features::FeatureReader as _;
    use crate::harvest::tests::{contexts, model, sae};
    use crate::progress::OnStop;
    use crate::random::Rng;
    use crate::sae_error::rows::TensorRows;
    use crate::sae_error::sae_info::{InfoOptions, SaeInfo};
    use crate::train::tests::assert_resumes;

    pub(crate) const POINT: HookPoint = HookPoint::ResidPost(0);

    pub(crate) fn explained() -> Explained {
        let options = InfoOptions { folds: 2, ..InfoOptions::default() };
        SaeInfo::collect(&model(), &sae(POINT, 1), &contexts(), &options)
            .unwrap()
            .explain()
            .unwrap()
    }

    fn text() -> Tokens {
        Tokens::from(contexts().as_slice().to_vec())
    }

    fn options() -> SaeOptions {
        SaeOptions {
            expansion: 2,
            k: 4,
            steps: 60,
            batch: 64,
            buffer: 256,
            length: 8,
            report: 20,
            learning_rate: 0.01,
            on_stop: OnStop::ReturnPartial,
            ..SaeOptions::default()
        }
    }

    fn flat(x: &Tensor) -> Vec<f64> {
        x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    fn weights(sae: &Sae) -> Vec<Vec<f64>> {
        sae.weights().tensors().into_iter().map(flat).collect()
    }

    #[test]
    fn parts_add_up_to_the_error() {
        let (explained, own) = (explained(), sae(POINT, 1));
        let x = Rng::seed(4).normal((9, 8), &Device::Cpu).unwrap();
        let [all, linear, nonlinear] = [Part::Error, Part::Linear, Part::Nonlinear]
            .map(|part| flat(&part.of(&own, explained.map(), &x).unwrap()));
        let error = flat(&(&x - own.reconstruct(&x).unwrap()).unwrap());
        let predicted = flat(&explained.map().apply(&x).unwrap());
        for at in 0..all.len() {
            assert_eq!(all[at], error[at]);
            assert_eq!(linear[at], predicted[at]);
            assert!((linear[at] + nonlinear[at] - all[at]).abs() < 1e-5);
        }
    }

    #[test]
    fn autoencoders_of_parts_learn_them() {
        let (explained, options) = (explained(), SaeOptions { steps: 200, ..options() });
        for part in [Part::Error, Part::Linear, Part::Nonlinear] {
            let (found, history) = explained.fit_sae(part, &text(), &options).unwrap();
            let nmse = history.column("nmse").unwrap();
            assert!(nmse[nmse.len() - 1] < 0.8 * nmse[0], "{part}: {nmse:?}");
            assert!(found.to_string().contains(&part.to_string()), "{found}");
            assert_eq!(found.origin().training.reads, Some(part.to_string()));
            // Read by itself it would make codes of the activation.
            let tokens = contexts().batch(0, 2, &Device::Cpu).unwrap();
            let error = found.read(&model(), &tokens).unwrap_err().to_string();
            assert!(error.contains("PartReader") && error.contains(&part.to_string()), "{error}");
            // What it was trained on is the part and not the activation.
            let tokens = text().windows(20, 8, &Device::Cpu).unwrap();
            let x = model().activations(&tokens, &[POINT]).unwrap();
            let x = x.get(POINT).unwrap().flatten(0, 1).unwrap();
            let own = part.of(&sae(POINT, 1), explained.map(), &x).unwrap();
            let check = found.check(&own).unwrap();
            assert!(check.fvu < nmse[0], "{part}: {check}");
        }
    }

    #[test]
    fn moments_are_those_of_the_rows() {
        let explained = explained();
        let rows = explained.rows();
        let mut errors = Vec::new();
        rows.for_each_block(&mut |block| {
            errors.push(block.errors()?);
            Ok(())
        })
        .unwrap();
        let errors = Tensor::cat(&errors, 0).unwrap().to_dtype(DType::F64).unwrap();
        let mean = errors.mean(0).unwrap();
        let centred = errors.broadcast_sub(&mean).unwrap();
        let expected = centred.t().unwrap().matmul(&centred).unwrap();
        let expected = flat(&(expected / rows.rows() as f64).unwrap());
        let (own_mean, covariance) = explained.part_moments(Part::Error).unwrap();
        for (found, asked) in flat(&covariance).iter().zip(&expected) {
            assert!((found - asked).abs() < 1e-8, "{found} {asked}");
        }
        for (found, asked) in own_mean.iter().zip(flat(&mean)) {
            assert!((found - asked).abs() < 1e-10);
        }
    }

    #[test]
    fn fits_of_parts_and_of_noise_go_on_where_they_were() {
        let explained = explained();
        assert_resumes(&[(25, 20)], 60, |checkpoint| {
            let options = SaeOptions { checkpoint, ..options() };
            let (sae, history) = explained.fit_sae(Part::Nonlinear, &text(), &options).unwrap();
            (history, weights(&sae))
        });
        assert_resumes(&[(25, 20)], 60, |checkpoint| {
            let options = SaeOptions { checkpoint, ..options() };
            let (sae, history) = explained.fit_gaussian(Part::Linear, &options).unwrap();
            (history, weights(&sae))
        });
        // The checkpoint of a part is not that of another.
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = Some(folder.path().to_owned());
        let options = SaeOptions { checkpoint, ..options() };
        explained.fit_sae(Part::Error, &text(), &options).unwrap();
        let error = explained.fit_sae(Part::Linear, &text(), &options).unwrap_err().to_string();
        assert!(error.contains("give the same options"), "{error}");
    }

    #[test]
    fn a_fit_without_a_model_or_with_a_target_is_refused() {
        let x = Rng::seed(0).normal((200, 4), &Device::Cpu).unwrap();
        let noise = (Rng::seed(1).normal((200, 4), &Device::Cpu).unwrap() * 0.1).unwrap();
        let made = ((&x * 0.9).unwrap() + noise).unwrap();
        let contexts = (0..200).map(|row| row / 10).collect();
        let rows = TensorRows::new(x, made, contexts).unwrap();
        let alone = Explained::of(std::sync::Arc::new(rows), &Default::default()).unwrap();
        let error = alone.fit_sae(Part::Error, &text(), &options()).unwrap_err().to_string();
        assert!(error.contains("SaeInfo::collect"), "{error}");
        let target = SaeOptions { target: Some(POINT), ..options() };
        let error = explained().fit_gaussian(Part::Error, &target).unwrap_err().to_string();
        assert!(error.contains("`target`"), "{error}");
    }
}
