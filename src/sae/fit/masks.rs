//! Which features are in the codes of a batch, found on the device where h lies: what
//! [`super::choose`] says of rows, in tensors.

use candle_core::{DType, Tensor};

use super::Objective;
use super::setup::Setup;
use crate::Result;
use crate::sae::top_k::top_k;

/// 1 where a code has a feature, 0 elsewhere, `[n, m]`.
pub(super) struct Masks {
    pub(super) main: Tensor,
    /// Of what the auxiliary loss reconstructs with: the dead, or what a gate lets through.
    pub(super) beside: Option<Tensor>,
    /// The smallest entry, where a batch is chosen from together.
    pub(super) smallest: Option<f32>,
}

impl Masks {
    /// Of the codes of `h` `[n, m]`, e included; `extras` are the weights with an entry a feature.
    pub(super) fn new(setup: &Setup, h: &Tensor, extras: &[Tensor], dead: &[u32]) -> Result<Self> {
        let (mut beside, mut smallest) = (None, None);
        let main = match setup.objective {
            Objective::Standard { .. } => positive(h)?,
            Objective::JumpRelu { .. } => positive(&h.broadcast_sub(&extras[1].exp()?)?)?,
            Objective::Gated { .. } => {
                let open = positive(&h.broadcast_add(&extras[0])?)?;
                let value = h.broadcast_mul(&extras[1].exp()?)?.broadcast_add(&extras[2])?;
                let main = (positive(&value)? * &open)?;
                beside = Some(open);
                main
            }
            Objective::TopK => largest(h, setup.k, !setup.relu)?,
            Objective::BatchTopK | Objective::Matryoshka { .. } => {
                let together = h.reshape((1, ()))?;
                let main = largest(&together, setup.k * h.dim(0)?, false)?.reshape(h.shape())?;
                smallest = smallest_of(h, &main)?;
                main
            }
        };
        if setup.revives() && !dead.is_empty() {
            let dead = Tensor::new(dead, h.device())?;
            let own = h.index_select(&dead, 1)?;
            let own = largest(&own, setup.auxiliary_k, !setup.relu)?;
            beside = Some(h.zeros_like()?.index_add(&dead, &own, 1)?);
        }
        Ok(Self { main, beside, smallest })
    }
}

/// Of the positive entries; NaN counts: it must not get lost.
fn positive(h: &Tensor) -> Result<Tensor> {
    Ok(h.le(0.0)?.eq(0u8)?.to_dtype(h.dtype())?)
}

/// Of the `k` largest entries of every row, or of those the positive ones.
fn largest(h: &Tensor, k: usize, signed: bool) -> Result<Tensor> {
    let indices = top_k(&h.to_dtype(DType::F32)?, k)?;
    let ones = Tensor::ones(indices.shape(), h.dtype(), h.device())?;
    let mask = h.zeros_like()?.scatter(&indices, &ones, 1)?;
    if signed { Ok(mask) } else { Ok((mask * positive(h)?)?) }
}

fn smallest_of(h: &Tensor, mask: &Tensor) -> Result<Option<f32>> {
    let none = (h.ones_like()? * f64::INFINITY)?;
    let smallest = mask.ne(0.0)?.where_cond(h, &none)?.min_all()?;
    let smallest = smallest.to_dtype(DType::F32)?.to_scalar::<f32>()?;
    Ok((smallest < f32::INFINITY).then_some(smallest))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::choose::Rows;
    use super::super::setup::Chosen;
    use super::super::tests::kinds;
    use super::*;
    use crate::random::Rng;
    use crate::sae::fit::SaeOptions;

    fn assert_masks(options: &SaeOptions, device: &Device) {
        let setup = Setup::new(options, [8, 8]).unwrap();
        let (n, m) = (40, setup.m);
        let mut rng = Rng::seed(9);
        // Few different values: ties, and zeros of both signs.
        let mut some = |count: usize| -> Vec<f32> {
            (0..count).map(|_| (8.0 * (rng.unit() - 0.6)).round() / 4.0).collect()
        };
        let h = some(n * m);
        let extras = [some(m), some(m), some(m)];
        let slices: Vec<&[f32]> = extras.iter().map(Vec::as_slice).collect();
        let exponentials = setup.exponentials(&slices);
        let tensor = |values: &[f32]| Tensor::new(values, device).unwrap();
        let tensors: Vec<Tensor> = extras.iter().map(|own| tensor(own)).collect();
        let there = tensor(&h).reshape((n, m)).unwrap();
        for dead in [&[][..], &[3, 8, 9, 20, 31]] {
            let mut chosen = Chosen::default();
            setup.choose(&setup.rule(&slices, &exponentials), &h, dead, &mut chosen);
            let masks = Masks::new(&setup, &there, &tensors, dead).unwrap();
            assert_mask(&masks.main, &chosen.main, options);
            assert_eq!(masks.beside.is_some(), chosen.beside.is_some(), "{options:?}");
            if let (Some(mask), Some(rows)) = (&masks.beside, &chosen.beside) {
                assert_mask(mask, rows, options);
            }
            assert_eq!(masks.smallest, chosen.smallest, "{options:?}");
        }
    }

    fn assert_mask(mask: &Tensor, rows: &Rows, options: &SaeOptions) {
        let jump_relu = matches!(options.objective, Objective::JumpRelu { .. });
        for (mask, row) in mask.to_vec2::<f32>().unwrap().iter().zip(rows) {
            let mut expected = vec![0.0; mask.len()];
            // A value of zero stands for a threshold that is near.
            let entries = row.iter().filter(|entry| !jump_relu || entry.value != 0.0);
            entries.for_each(|entry| expected[entry.feature as usize] = 1.0);
            assert_eq!(mask, &expected, "{options:?}");
        }
    }

    #[test]
    fn masks_are_the_codes_that_rows_have() {
        let auxiliary_k = Some(2);
        for options in kinds() {
            assert_masks(&SaeOptions { auxiliary_k, ..options }, &Device::Cpu);
        }
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn masks_on_cuda_are_the_codes_that_rows_have() {
        let device = match Device::new_cuda(0) {
            Ok(device) => device,
            Err(reason) => return println!("skipped, there is no GPU: {reason}"),
        };
        kinds().iter().for_each(|options| assert_masks(options, &device));
    }

    #[test]
    fn nothing_positive_has_no_smallest_and_nan_is_not_lost() {
        let options = SaeOptions { objective: Objective::BatchTopK, k: 1, ..SaeOptions::default() };
        let setup = Setup::new(&options, [1, 1]).unwrap();
        let h = Tensor::full(-1f32, (2, 8), &Device::Cpu).unwrap();
        let masks = Masks::new(&setup, &h, &[], &[]).unwrap();
        assert_eq!(masks.main.sum_all().unwrap().to_scalar::<f32>().unwrap(), 0.0);
        assert_eq!(masks.smallest, None);
        let h = Tensor::new(&[f32::NAN, -1.0, 0.0, -0.0], &Device::Cpu).unwrap();
        assert_eq!(positive(&h).unwrap().to_vec1::<f32>().unwrap(), [1.0, 0.0, 0.0, 0.0]);
    }
}
