//! What the study keeps of each token, in its own conventions.

use candle_core::{D, DType, Tensor};

use crate::check::check_finite;
use crate::sae::Codes;
use crate::sae_error::sae_info::FeatureStatistics;
use crate::{Error, Result};

/// The arrays that the study saves of an autoencoder on C contexts of T tokens, and what its info
/// object makes of them. Beside [`SaeInfo`](crate::sae_error::SaeInfo):
///
/// | here | there |
/// | --- | --- |
/// | error vectors `x̂ − x` | [`errors`](crate::sae_error::SaeInfo::errors), `x − x̂` |
/// | "error norms" `‖x̂ − x‖²` | [`squared_error_norms`](crate::sae_error::SaeInfo::squared_error_norms) |
/// | L0 counts what is above 0 | [`l0`](crate::sae_error::SaeInfo::l0) counts what is not 0 |
/// | "frequencies" are counts | [`FeatureStatistics::density`] are shares |
/// | the mean of a feature that is never active is NaN | it is `None` |
///
/// All figures rest on them; the counts of features on the 14th and 15th.
#[derive(Debug, Clone)]
pub struct StudyInfo {
    activations: Tensor,
    codes: Tensor,
    reconstructions: Tensor,
}

/// Every entry of codes that is not 0, by context, token and feature.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StudyEntries {
    /// The number of the context.
    pub context: Vec<u32>,
    /// The position in it.
    pub token: Vec<u32>,
    /// The feature.
    pub feature: Vec<u32>,
    /// Its value.
    pub value: Vec<f32>,
}

impl StudyInfo {
    /// Of activations `[C, T, d]`, dense codes `[C, T, F]` and reconstructions `[C, T, d]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for shapes that do not fit each other, [`Error::NonFinite`] for NaN.
    pub fn new(activations: &Tensor, codes: &Tensor, reconstructions: &Tensor) -> Result<Self> {
        let (contexts, tokens, _) = activations
            .dims3()
            .map_err(|_| Error::shape("the activations", "[C, T, d]", activations.dims()))?;
        if reconstructions.dims() != activations.dims() {
            let expected = format!("{:?}, as the activations", activations.dims());
            return Err(Error::shape("the reconstructions", expected, reconstructions.dims()));
        }
        match *codes.dims() {
            [own, length, _] if (own, length) == (contexts, tokens) => {}
            _ => {
                let expected = format!("[{contexts}, {tokens}, F]");
                return Err(Error::shape("the codes", expected, codes.dims()));
            }
        }
        let plain = |what: &str, tensor: &Tensor| -> Result<Tensor> {
            check_finite(what, tensor)?;
            Ok(tensor.to_dtype(DType::F32)?.contiguous()?)
        };
        Ok(Self {
            activations: plain("the activations", activations)?,
            codes: plain("the codes", codes)?,
            reconstructions: plain("the reconstructions", reconstructions)?,
        })
    }

    /// Features above 0 at each token, `[C, T]`, u32.
    ///
    /// # Errors
    /// Memory.
    pub fn l0(&self) -> Result<Tensor> {
        Ok(self.codes.gt(0f32)?.to_dtype(DType::U32)?.sum(D::Minus1)?)
    }

    /// `x̂ − x`, `[C, T, d]`.
    ///
    /// # Errors
    /// Memory.
    pub fn error_vectors(&self) -> Result<Tensor> {
        Ok((&self.reconstructions - &self.activations)?)
    }

    /// `‖x̂ − x‖²`, `[C, T]`, f64.
    ///
    /// # Errors
    /// Memory.
    pub fn error_norms(&self) -> Result<Tensor> {
        Ok(self.error_vectors()?.to_dtype(DType::F64)?.sqr()?.sum(D::Minus1)?)
    }

    /// `‖f‖` of each token's code, `[C, T]`, f64.
    ///
    /// # Errors
    /// Memory.
    pub fn code_norms(&self) -> Result<Tensor> {
        Ok(self.codes.to_dtype(DType::F64)?.sqr()?.sum(D::Minus1)?.sqrt()?)
    }

    /// Every entry that is not 0, negative ones too.
    ///
    /// # Errors
    /// Memory.
    pub fn entries(&self) -> Result<StudyEntries> {
        let mut found = StudyEntries::default();
        for (context, tokens) in self.codes.to_vec3::<f32>()?.iter().enumerate() {
            for (token, features) in tokens.iter().enumerate() {
                for (feature, value) in features.iter().enumerate().filter(|(_, v)| **v != 0.0) {
                    found.context.push(context as u32);
                    found.token.push(token as u32);
                    found.feature.push(feature as u32);
                    found.value.push(*value);
                }
            }
        }
        Ok(found)
    }

    /// The reconstructions at positions `start` to `end − 1`, as activations plus error vectors,
    /// `[C (end − start), d]`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a window that the contexts do not have.
    pub fn reconstruction_vectors(&self, start: usize, end: usize) -> Result<Tensor> {
        let all = (&self.activations + self.error_vectors()?)?;
        Ok(self.windowed(&all, start, end)?.flatten(0, 1)?)
    }

    /// Counts and means of the features over the same positions. A feature that is never active has no
    /// [mean](FeatureStatistics::mean_when_active); the study's is NaN.
    ///
    /// # Errors
    /// As [`StudyInfo::reconstruction_vectors`].
    pub fn features(&self, start: usize, end: usize) -> Result<FeatureStatistics> {
        let rows = self.windowed(&self.codes, start, end)?.flatten(0, 1)?.to_vec2::<f32>()?;
        let width = self.codes.dim(2)?;
        let row = |row: Vec<f32>| (0..).zip(row).filter(|(_, value)| *value != 0.0).collect();
        Ok(FeatureStatistics::of(&Codes::new(width, rows.into_iter().map(row))?))
    }

    fn windowed(&self, all: &Tensor, start: usize, end: usize) -> Result<Tensor> {
        let tokens = all.dim(1)?;
        if start >= end || end > tokens {
            let expected = format!("with a position, within 0 to {tokens}");
            return Err(Error::invalid("the window", expected, format!("{start} to {end}")));
        }
        Ok(all.narrow(1, start, end - start)?.contiguous()?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn info() -> StudyInfo {
        let host = &Device::Cpu;
        // Two contexts of two tokens in two dimensions, with three features.
        let x = Tensor::new(&[[[1f32, 0.0], [0.0, 2.0]], [[3.0, 4.0], [1.0, 1.0]]], host).unwrap();
        let codes = Tensor::new(
            &[[[0f32, 3.0, -4.0], [0.0, 0.0, 0.0]], [[0.0, 1.0, 0.0], [0.0, 2.0, 2.0]]],
            host,
        );
        let made = Tensor::new(&[[[1f32, 1.0], [3.0, 6.0]], [[3.0, 4.0], [0.0, 1.0]]], host);
        StudyInfo::new(&x, &codes.unwrap(), &made.unwrap()).unwrap()
    }

    #[test]
    fn conventions_of_the_study_by_hand() {
        let info = info();
        assert_eq!(info.l0().unwrap().to_vec2::<u32>().unwrap(), [[1, 0], [1, 2]]);
        assert_eq!(
            info.error_norms().unwrap().to_vec2::<f64>().unwrap(),
            [[1.0, 25.0], [0.0, 1.0]]
        );
        let errors = info.error_vectors().unwrap().to_vec3::<f32>().unwrap();
        assert_eq!(errors[0], [[0.0, 1.0], [3.0, 4.0]]);
        let norms = info.code_norms().unwrap().to_vec2::<f64>().unwrap();
        assert_eq!((norms[0][0], norms[0][1], norms[1][1]), (5.0, 0.0, 8f64.sqrt()));
        let entries = info.entries().unwrap();
        assert_eq!(entries.context, [0, 0, 1, 1, 1]);
        assert_eq!(entries.token, [0, 0, 0, 1, 1]);
        assert_eq!(entries.feature, [1, 2, 1, 1, 2]);
        assert_eq!(entries.value, [3.0, -4.0, 1.0, 2.0, 2.0]);
        let made = info.reconstruction_vectors(1, 2).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(made, [[3.0, 6.0], [0.0, 1.0]]);
        let features = info.features(0, 2).unwrap();
        assert_eq!(features.counts(), [0, 3, 2]);
        assert_eq!(features.mean_when_active(), [None, Some(2.0), Some(-1.0)]);
        assert_eq!(features.mean(), [0.0, 1.5, -0.5]);
        assert_eq!(info.features(1, 2).unwrap().counts(), [0, 1, 1]);
    }

    #[test]
    fn arrays_that_do_not_fit_are_refused() {
        let info = info();
        let error = info.features(1, 3).unwrap_err().to_string();
        assert!(error.contains("within 0 to 2, found 1 to 3"), "{error}");
        assert!(info.reconstruction_vectors(1, 1).is_err());
        let StudyInfo { activations, codes, .. } = &info;
        let refused = |x: &Tensor, f: &Tensor, made: &Tensor| {
            StudyInfo::new(x, f, made).unwrap_err().to_string()
        };
        let flat = activations.flatten(0, 1).unwrap();
        assert!(refused(&flat, codes, activations).contains("[C, T, d]"));
        assert!(refused(activations, codes, codes).contains("the reconstructions"));
        let short = codes.narrow(1, 0, 1).unwrap();
        assert!(refused(activations, &short, activations).contains("[2, 2, F]"));
        let nan = (activations * f64::NAN).unwrap();
        assert!(refused(&nan, codes, activations).contains("the activations holds NaN"));
    }
}
