//! Group-max: the features are cut into k equal runs, and f keeps the largest of each, if it is
//! positive.

use std::fmt;

use super::code::{Code, RowRule};
use crate::sae::Rescale;
use crate::sae::autoencoder::SaeData;
use crate::sae::order::{largest, positive};
use crate::{Error, Result};

/// The largest of each of k groups.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupMax {
    pub(crate) k: usize,
}

impl RowRule for GroupMax {
    fn code(&self, h: &[f32]) -> Vec<(u32, f32)> {
        let groups = (0u32..).zip(h.chunks((h.len() / self.k).max(1)));
        let best = groups.filter_map(|(group, values)| {
            let (i, value) = largest(values, 1).into_iter().next()?;
            Some((group * values.len() as u32 + i, value))
        });
        best.filter(|(_, value)| positive(*value)).collect()
    }
}

impl fmt::Display for GroupMax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group-max of {}", self.k)
    }
}

impl Code for GroupMax {
    type Rule<'a> = Self;

    fn rule(&self, _sae: &SaeData) -> Self {
        *self
    }

    fn k(&self) -> Option<usize> {
        Some(self.k)
    }

    fn check(&self, features: usize) -> Result<()> {
        if self.k == 0 || !features.is_multiple_of(self.k) {
            let expected = format!("a divisor of {features}, the features");
            return Err(Error::invalid("k", expected, self.k));
        }
        Ok(())
    }

    fn is_free_of_lengths(&self, rescale: Rescale) -> bool {
        rescale == Rescale::Kept
    }
}
