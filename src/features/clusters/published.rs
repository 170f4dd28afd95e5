//! The clusters that the study names.

use std::fmt;

use super::affinity::mean_pairwise_cosine;
use crate::display::show_as_text;
use crate::sae::Sae;
use crate::{Error, Result};

/// How far a mean cosine may be from the published one, which has two digits.
const ROUNDING: f64 = 0.005 + 1e-9;

/// A cluster that Engels et al. (2024) name by its features: of the autoencoder
/// `gpt2-small-res-jb` at `blocks.7.hook_resid_pre`, or of `mistral-7b-res-wg` at layer 8.
///
/// The study's spectral clusters of GPT-2 had no seed, so that a run of one's own gives others:
/// these are the ones its figures show. Of Mistral's months the list was published with the files
/// of clusters only: it is cluster 832 of those with more than one feature.
///
/// ```
/// use eigenlens::features::PublishedCluster;
/// assert_eq!(PublishedCluster::Gpt2Weekdays.members().len(), 9);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PublishedCluster {
    /// Days of the week in GPT-2; spectral cluster 138.
    Gpt2Weekdays,
    /// Months in GPT-2; spectral cluster 251.
    Gpt2Months,
    /// Years of the twentieth century in GPT-2; spectral cluster 212.
    Gpt2Years,
    /// Days of the week in Mistral 7B; graph cluster 61 of those with more than one feature.
    MistralWeekdays,
}

impl PublishedCluster {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Gpt2Weekdays, Self::Gpt2Months, Self::Gpt2Years, Self::MistralWeekdays];

    /// Its features.
    pub fn members(self) -> &'static [usize] {
        match self {
            Self::Gpt2Weekdays => &[2592, 4445, 4663, 4733, 6531, 8179, 9566, 20927, 24185],
            Self::Gpt2Months => &[
                3977, 4140, 5993, 7299, 9104, 9401, 10449, 11196, 12661, 14715, 17068, 17528,
                19589, 21033, 22043, 23304,
            ],
            Self::Gpt2Years => &[1052, 2753, 4427, 6382, 8314, 9576, 9606, 13551, 19734, 20349],
            Self::MistralWeekdays => &[398, 35234, 31484, 54166, 52464, 23936, 20629],
        }
    }

    /// How many features its autoencoder has.
    pub fn features(self) -> usize {
        match self {
            Self::MistralWeekdays => 65_536,
            _ => 24_576,
        }
    }

    /// Its number among the study's clusters: of GPT-2's 1,000, or of those of Mistral's that have
    /// more than one feature.
    pub fn number(self) -> usize {
        match self {
            Self::Gpt2Weekdays => 138,
            Self::Gpt2Months => 251,
            Self::Gpt2Years => 212,
            Self::MistralWeekdays => 61,
        }
    }

    /// The mean cosine of two of its decoder columns, where it was published.
    pub fn mean_cosine(self) -> Option<f64> {
        match self {
            Self::Gpt2Weekdays => Some(0.63),
            Self::Gpt2Months => Some(0.53),
            Self::Gpt2Years => Some(0.55),
            Self::MistralWeekdays => None,
        }
    }

    /// The release and the identity of its autoencoder, for
    /// [`Sae::from_pretrained`](crate::sae::Sae::from_pretrained).
    pub fn sae(self) -> (&'static str, &'static str) {
        match self {
            Self::MistralWeekdays => ("mistral-7b-res-wg", "blocks.8.hook_resid_pre"),
            _ => ("gpt2-small-res-jb", "blocks.7.hook_resid_pre"),
        }
    }

    /// Compares the mean cosine of the features' decoder columns with the published one: whether this
    /// is the autoencoder that the study had.
    ///
    /// # Errors
    /// An autoencoder with another number of features, or whose decoder holds NaN.
    pub fn check(self, sae: &Sae) -> Result<PublishedCheck> {
        if sae.features() != self.features() {
            let (release, id) = self.sae();
            let expected = format!("{} (`{release}`, `{id}`)", self.features());
            return Err(Error::invalid("the number of features", expected, sae.features()));
        }
        let members: Vec<u32> = self.members().iter().map(|feature| *feature as u32).collect();
        let decoder = sae.w_dec().contiguous()?;
        let index = candle_core::Tensor::new(members, decoder.device())?;
        let columns = decoder.index_select(&index, 1)?.t()?;
        Ok(PublishedCheck { cluster: self, found: mean_pairwise_cosine(&columns)? })
    }
}

impl fmt::Display for PublishedCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gpt2Weekdays => "weekdays in GPT-2",
            Self::Gpt2Months => "months in GPT-2",
            Self::Gpt2Years => "years in GPT-2",
            Self::MistralWeekdays => "weekdays in Mistral 7B",
        })
    }
}

/// What [`PublishedCluster::check`] found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PublishedCheck {
    /// The cluster.
    pub cluster: PublishedCluster,
    /// The mean cosine of two of its decoder columns in this autoencoder.
    pub found: f64,
}

impl PublishedCheck {
    /// Whether it is the published one, to its two digits; none where none was published.
    pub fn agrees(&self) -> Option<bool> {
        Some((self.found - self.cluster.mean_cosine()?).abs() <= ROUNDING)
    }
}

show_as_text!(PublishedCluster, PublishedCheck);

impl fmt::Display for PublishedCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: mean cosine {:.3}", self.cluster, self.found)?;
        match (self.cluster.mean_cosine(), self.agrees()) {
            (Some(published), Some(true)) => write!(f, ", published {published}"),
            (Some(published), _) => write!(
                f,
                ", published {published}: this is not the autoencoder of the study, or its features \
                 are in another order"
            ),
            (None, _) => write!(f, ", none published"),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::sae::{Architecture, SaeWeights};

    fn sae(features: usize, decoder: Tensor) -> Sae {
        let encoder = Tensor::zeros((features, 2), DType::F32, &Device::Cpu).unwrap();
        let bias = Tensor::zeros(2, DType::F32, &Device::Cpu).unwrap();
        Sae::new(Architecture::standard(), SaeWeights::new(encoder, decoder, bias)).unwrap()
    }

    #[test]
    fn members_are_different_and_within_their_dictionary() {
        for cluster in PublishedCluster::ALL {
            let mut members = cluster.members().to_vec();
            members.sort_unstable();
            members.dedup();
            assert_eq!(members.len(), cluster.members().len());
            assert!(members.iter().all(|feature| *feature < cluster.features()));
        }
    }

    #[test]
    fn the_mean_cosine_is_held_against_the_published_one() {
        let cluster = PublishedCluster::Gpt2Weekdays;
        let n = cluster.features();
        // Members at alternating angles ±a: of 36 pairs 16 are alike (cosine 1), 20 at 2a.
        let with = |half: f64| {
            let mut rows = vec![vec![1f32, 0.0]; n];
            for (at, feature) in cluster.members().iter().enumerate() {
                let angle = half as f32 * if at % 2 == 0 { 1.0 } else { -1.0 };
                rows[*feature] = vec![angle.cos(), angle.sin()];
            }
            let decoder = Tensor::new(rows, &Device::Cpu).unwrap().t().unwrap();
            cluster.check(&sae(n, decoder.contiguous().unwrap())).unwrap()
        };
        let cosine = (36.0 * 0.63 - 16.0) / 20.0;
        let right = with(f64::acos(cosine) / 2.0);
        assert!((right.found - 0.63).abs() < 1e-4 && right.agrees() == Some(true), "{right}");
        let wrong = with(0.1);
        assert_eq!(wrong.agrees(), Some(false));
        assert!(wrong.to_string().contains("not the autoencoder"), "{wrong}");
        let small = sae(3, Tensor::ones((2, 3), DType::F32, &Device::Cpu).unwrap());
        let error = cluster.check(&small).unwrap_err().to_string();
        assert!(error.contains("24576") && error.contains("gpt2-small-res-jb"), "{error}");
    }
}
