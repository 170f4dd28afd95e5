//! What takes the place of activations, and why.

use std::fmt;
use std::ops::Range;

use candle_core::{Device, Tensor};

use crate::linalg::unit_rows;
use crate::random::Rng;
use crate::{Error, Result};

/// What takes the place of an activation x, whose reconstruction is x̂ and whose error `x − x̂` is
/// `linear + nonlinear`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arm {
    /// x: the model as it is.
    Clean,
    /// x̂.
    Sae,
    /// x̂ + linear.
    Linear,
    /// x̂ + nonlinear.
    Nonlinear,
    /// x̂ + linear + nonlinear, which is x but for rounding: shows what rounding costs.
    WholeError,
    /// x̂ + a random direction as long as nonlinear: what any vector of that size does.
    RandomDirection,
    /// x̂ + nonlinear of another token of the same context: what the part does if it does not belong
    /// to the token.
    OtherToken,
    /// The mean of x over the tokens that the linear map was fitted on: what everything that is said
    /// about the token at this place is worth.
    Mean,
    /// 0.
    Zero,
}

impl Arm {
    /// All but [`Arm::WholeError`].
    pub const ALL: [Self; 8] = [
        Self::Clean,
        Self::Sae,
        Self::Linear,
        Self::Nonlinear,
        Self::RandomDirection,
        Self::OtherToken,
        Self::Mean,
        Self::Zero,
    ];

    /// Whether it adds something to x̂.
    pub(super) fn adds(self) -> bool {
        match self {
            Self::Linear
            | Self::Nonlinear
            | Self::WholeError
            | Self::RandomDirection
            | Self::OtherToken => true,
            Self::Clean | Self::Sae | Self::Mean | Self::Zero => false,
        }
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clean => "x",
            Self::Sae => "x̂",
            Self::Linear => "x̂ + linear",
            Self::Nonlinear => "x̂ + nonlinear",
            Self::WholeError => "x̂ + linear + nonlinear",
            Self::RandomDirection => "x̂ + random direction",
            Self::OtherToken => "x̂ + another token's nonlinear",
            Self::Mean => "mean",
            Self::Zero => "zero",
        })
    }
}

/// Rows of some contexts that are replaced, f32 `[rows, d]` each.
#[derive(Debug)]
pub(super) struct ArmRows {
    pub(super) activations: Tensor,
    pub(super) reconstructions: Tensor,
    pub(super) linear: Tensor,
    pub(super) nonlinear: Tensor,
    /// The number of each context, and its rows.
    pub(super) contexts: Vec<(usize, Range<usize>)>,
    /// `[d]`.
    pub(super) mean: Tensor,
    pub(super) seed: u64,
}

impl ArmRows {
    /// What `arm` puts in the place of the rows, `[rows, d]`. Random numbers depend on the seed and the
    /// context alone, so that the size of batches changes nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a context with a single row where another token's is asked for.
    pub(super) fn of(&self, arm: Arm) -> Result<Tensor> {
        let plus = |part: &Tensor| -> Result<Tensor> { Ok((&self.reconstructions + part)?) };
        match arm {
            Arm::Clean => Ok(self.activations.clone()),
            Arm::Sae => Ok(self.reconstructions.clone()),
            Arm::Linear => plus(&self.linear),
            Arm::Nonlinear => plus(&self.nonlinear),
            Arm::WholeError => Ok((plus(&self.linear)? + &self.nonlinear)?),
            Arm::RandomDirection => plus(&self.random_directions()?),
            Arm::OtherToken => plus(&self.of_other_tokens()?),
            Arm::Mean => Ok(self.mean.broadcast_as(self.activations.shape())?.contiguous()?),
            Arm::Zero => Ok(self.activations.zeros_like()?),
        }
    }

    fn random_directions(&self) -> Result<Tensor> {
        let width = self.activations.dim(1)?;
        let draws = self.contexts.iter().map(|(context, rows)| {
            Rng::stream(self.seed, 2 * *context as u64).normal((rows.len(), width), &Device::Cpu)
        });
        let directions = unit_rows(&Tensor::cat(&draws.collect::<Result<Vec<_>>>()?, 0)?)?;
        let norms = self.nonlinear.sqr()?.sum_keepdim(1)?.sqrt()?;
        Ok(directions.to_device(norms.device())?.broadcast_mul(&norms)?)
    }

    /// The rows of each context in a circle of random order, each moved on to the next.
    fn of_other_tokens(&self) -> Result<Tensor> {
        let mut from = vec![0u32; self.activations.dim(0)?];
        for (context, rows) in &self.contexts {
            if rows.len() < 2 {
                let expected = format!("of at least 2 tokens a context for `{}`", Arm::OtherToken);
                return Err(Error::invalid("the window", expected, rows.len()));
            }
            let order = Rng::stream(self.seed, 2 * *context as u64 + 1).permutation(rows.len());
            let first = rows.start as u32;
            for (to, other) in order.iter().zip(order.iter().cycle().skip(1)) {
                from[(first + to) as usize] = first + other;
            }
        }
        let from = Tensor::new(from, self.nonlinear.device())?;
        Ok(self.nonlinear.index_select(&from, 0)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;

    fn rows(seed: u64) -> ArmRows {
        let mut rng = Rng::seed(9);
        let mut draw = || rng.normal((8, 3), &Device::Cpu).unwrap();
        let (reconstructions, linear, nonlinear) = (draw(), draw(), draw());
        ArmRows {
            activations: ((&reconstructions + &linear).unwrap() + &nonlinear).unwrap(),
            reconstructions,
            linear,
            nonlinear,
            contexts: vec![(4, 0..5), (7, 5..8)],
            mean: Tensor::new(&[1f32, 2.0, 3.0], &Device::Cpu).unwrap(),
            seed,
        }
    }

    fn values(tensor: &Tensor) -> Vec<Vec<f32>> {
        tensor.to_dtype(DType::F32).unwrap().to_vec2().unwrap()
    }

    #[test]
    fn arms_are_sums_of_parts() {
        let own = rows(0);
        for row in values(&own.of(Arm::Mean).unwrap()) {
            assert_eq!(row, [1.0, 2.0, 3.0]);
        }
        assert!(values(&own.of(Arm::Zero).unwrap()).concat().iter().all(|x| *x == 0.0));
        let gap = |a: &Tensor, b: &Tensor| {
            (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
        };
        assert!(gap(&own.of(Arm::WholeError).unwrap(), &own.activations) < 1e-6);
        let linear = (&own.activations - &own.nonlinear).unwrap();
        assert!(gap(&own.of(Arm::Linear).unwrap(), &linear) < 1e-6);
        let nonlinear = (&own.activations - &own.linear).unwrap();
        assert!(gap(&own.of(Arm::Nonlinear).unwrap(), &nonlinear) < 1e-6);
    }

    #[test]
    fn controls_keep_norms_and_stay_within_a_context() {
        let own = rows(3);
        let added = |arm| values(&(own.of(arm).unwrap() - &own.reconstructions).unwrap());
        let norm = |row: &[f32]| row.iter().map(|x| x * x).sum::<f32>().sqrt();
        let nonlinear = values(&own.nonlinear);
        for (random, part) in added(Arm::RandomDirection).iter().zip(&nonlinear) {
            assert!((norm(random) - norm(part)).abs() < 1e-5 * norm(part));
            let cosine: f32 = random.iter().zip(part).map(|(a, b)| a * b).sum();
            assert!(cosine.abs() < 0.999 * norm(part).powi(2));
        }
        // Every part is at another row of its own context, and each is there once.
        let mut found = Vec::new();
        for (row, other) in added(Arm::OtherToken).iter().enumerate() {
            let near = |part: &Vec<f32>| part.iter().zip(other).all(|(a, b)| (a - b).abs() < 1e-5);
            let from = nonlinear.iter().position(near).unwrap();
            assert!(from != row && (from < 5) == (row < 5), "{from} {row}");
            found.push(from);
        }
        found.sort_unstable();
        assert_eq!(found, (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn draws_depend_on_seed_and_context_alone() {
        let whole = rows(5);
        let cut = |tensor: &Tensor| tensor.narrow(0, 5, 3).unwrap();
        let part = ArmRows {
            activations: cut(&whole.activations),
            reconstructions: cut(&whole.reconstructions),
            linear: cut(&whole.linear),
            nonlinear: cut(&whole.nonlinear),
            contexts: vec![(7, 0..3)],
            ..rows(5)
        };
        for arm in [Arm::RandomDirection, Arm::OtherToken] {
            assert_eq!(values(&cut(&whole.of(arm).unwrap())), values(&part.of(arm).unwrap()));
            assert_ne!(values(&whole.of(arm).unwrap()), values(&rows(6).of(arm).unwrap()));
        }
        let alone = ArmRows { contexts: vec![(4, 0..7), (7, 7..8)], ..rows(0) };
        let error = alone.of(Arm::OtherToken).unwrap_err().to_string();
        assert!(error.contains("at least 2 tokens"), "{error}");
    }
}
