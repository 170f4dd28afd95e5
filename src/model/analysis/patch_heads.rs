//! Activation patching of single heads.

use std::ops::Range;

use candle_core::{Device, Tensor};

use super::patch::{Patching, copies};
use super::scalar;
use crate::model::{Decoder, HookPoint, Hooks};
use crate::progress::{Progress, StopShield};
use crate::{Error, Result};

/// Heads that are patched in one pass, each in a copy of the texts.
const GROUP: usize = 8;

impl Decoder {
    /// Activation patching of one head at a time: for each of `layers` and each head, the metric of a
    /// run on `corrupted` in which the head's mix of values ([`HookPoint::Z`]) at `position` is the
    /// one of a run on `clean`. Values are `[layers, heads]`. Otherwise as [`Decoder::patch`].
    ///
    /// ```
    /// use eigenlens::prelude::*;
    /// use eigenlens::model::logit_difference;
    /// # fn main() -> Result<()> {
    /// let model = Decoder::random(Config { vocab: 9, ..Config::llama(2, 2, 8, 16) }, 0, &Device::Cpu)?;
    /// let clean = Tensor::new(&[[1u32, 2, 3]], &Device::Cpu)?;
    /// let corrupted = Tensor::new(&[[1u32, 7, 3]], &Device::Cpu)?;
    /// let found = model.patch_heads(&clean, &corrupted, 2, 1..2, |logits| {
    ///     logit_difference(logits, 4, 5)
    /// })?;
    /// assert_eq!(found.values.dims(), [1, 2]); // one layer, two heads
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Decoder::run`]; texts of two shapes; a position beyond them; layers beyond the model's or
    /// none; a metric that is not one number; [`Error::Stopped`] when Stop is pressed, after which
    /// `stopped::<Patching>()` returns what was done.
    pub fn patch_heads(
        &self,
        clean: &Tensor,
        corrupted: &Tensor,
        position: usize,
        layers: Range<usize>,
        metric: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Patching> {
        let (clean, corrupted) = self.checked_pair(clean, corrupted)?;
        let ((batch, positions), heads) = (clean.dims2()?, self.config().heads);
        if position >= positions {
            let expected = format!("below {positions}, the number of tokens");
            return Err(Error::invalid("the position", expected, position));
        }
        if layers.is_empty() || layers.end > self.config().layers {
            let expected = format!("a range below {}, not empty", self.config().layers);
            return Err(Error::invalid("the layers", expected, format!("{layers:?}")));
        }
        let points = layers.clone().map(HookPoint::Z);
        let (logits, sources) = self.run(&clean, &Hooks::new().capture_all(points))?;
        let clean = scalar(&metric(&logits)?)?;
        let points = layers.clone().map(HookPoint::ResidPre);
        let (logits, streams) = self.run(&corrupted, &Hooks::new().capture_all(points))?;
        let corrupted = scalar(&metric(&logits)?)?;

        let first_layer = layers.start;
        let mut values = vec![f64::NAN; layers.len() * heads];
        let mut progress = Progress::new("patching heads", values.len() as u64, "head");
        let mut interrupted = false;
        let _shield = StopShield::new();
        'all: for layer in layers.clone() {
            let stream = streams.get(HookPoint::ResidPre(layer))?;
            for start in (0..heads).step_by(GROUP) {
                let group = GROUP.min(heads - start);
                let source = copies(sources.get(HookPoint::Z(layer))?, group)?;
                let own =
                    own_head([batch, positions, heads], position, start, group, self.device())?;
                let hooks = Hooks::new().replace(HookPoint::Z(layer), move |z| {
                    Ok(own.broadcast_as(z.shape())?.where_cond(&source, z)?)
                });
                let (logits, _) = self.run_from(layer, &copies(stream, group)?, &hooks)?;
                for at in 0..group {
                    let logits = logits.narrow(0, at * batch, batch)?;
                    let place = (layer - first_layer) * heads + start + at;
                    values[place] = scalar(&metric(&logits)?)?;
                }
                let last = layer + 1 == layers.end && start + group == heads;
                if progress.advance(group as u64) && !last {
                    interrupted = true;
                    break 'all;
                }
            }
        }
        let values = Tensor::from_vec(values, (layers.len(), heads), &Device::Cpu)?;
        let kind = format!("heads at position {position}");
        Patching { values, first_layer, clean, corrupted, interrupted, kind }.end()
    }
}

/// 1 at `position` and head `start + i` of copy i of a batch, `[copies · batch, positions, heads,
/// 1]`.
fn own_head(
    [batch, positions, heads]: [usize; 3],
    position: usize,
    start: usize,
    group: usize,
    device: &Device,
) -> Result<Tensor> {
    let mut own = vec![0u8; group * batch * positions * heads];
    for row in 0..group * batch {
        own[(row * positions + position) * heads + start + row / batch] = 1;
    }
    Ok(Tensor::from_vec(own, (group * batch, positions, heads, 1), device)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Config, logit_difference};

    fn model(heads: usize) -> Decoder {
        let config = Config { vocab: 17, context: 16, ..Config::llama(2, heads, 36, 6) };
        let model = Decoder::random(config, 3, &Device::Cpu).unwrap();
        for var in model.variables() {
            var.set(&(var.as_tensor() * 10.).unwrap()).unwrap();
        }
        model
    }

    #[test]
    fn a_sweep_of_heads_is_its_single_runs() {
        // More heads than one pass takes.
        let model = model(9);
        let clean = Tensor::arange(0u32, 5, &Device::Cpu).unwrap();
        let clean = Tensor::stack(&[&clean, &(&clean + 3.).unwrap()], 0).unwrap();
        let corrupted = (&clean + 2.).unwrap();
        let metric = |logits: &Tensor| logit_difference(logits, 3, 9);
        let found = model.patch_heads(&clean, &corrupted, 4, 1..2, metric).unwrap();
        assert_eq!((found.values.dims(), found.first_layer), (&[1, 9][..], 1));
        let values = found.values.to_vec2::<f64>().unwrap();
        let point = HookPoint::Z(1);
        let source = model.activations(&clean, &[point]).unwrap().tensor(point).unwrap();
        for head in [0, 7, 8] {
            let source = source.clone();
            let hooks = Hooks::new().replace(point, move |z| {
                let row = Tensor::cat(
                    &[
                        z.narrow(2, 0, head)?.narrow(1, 4, 1)?,
                        source.narrow(2, head, 1)?.narrow(1, 4, 1)?,
                        z.narrow(2, head + 1, 8 - head)?.narrow(1, 4, 1)?,
                    ]
                    .into_iter()
                    .filter(|part| part.dims()[2] > 0)
                    .collect::<Vec<_>>(),
                    2,
                )?;
                Ok(Tensor::cat(&[z.narrow(1, 0, 4)?, row], 1)?)
            });
            let logits = model.run(&corrupted, &hooks).unwrap().0;
            let single = scalar(&metric(&logits).unwrap()).unwrap();
            assert!((single - values[0][head]).abs() < 1e-5, "{head}");
            assert!((single - found.corrupted).abs() > 1e-4, "{head}");
        }
        assert!(found.to_string().contains("\n    1 "), "{found}");
    }

    #[test]
    fn heads_that_cannot_be_patched_are_named() {
        let model = model(2);
        let two = Tensor::new(&[[3u32, 1], [1, 2]], &Device::Cpu).unwrap();
        let metric = |logits: &Tensor| logit_difference(logits, 1, 2);
        let text = |other: &Tensor, position, layers: Range<usize>| {
            model.patch_heads(&two, other, position, layers, metric).unwrap_err().to_string()
        };
        assert!(text(&two.get(0).unwrap(), 0, 0..2).contains("as the clean ones"));
        assert!(text(&two, 2, 0..2).contains("the position must be below 2"));
        for layers in [0..3, 1..1] {
            assert!(text(&two, 0, layers).contains("a range below 2"));
        }
    }
}
