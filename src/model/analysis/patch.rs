//! Activation patching.

use std::fmt;

use candle_core::{DType, Device, Tensor};

use super::scalar;
use crate::display::show_as_text;
use crate::model::{Decoder, HookPoint, Hooks};
use crate::progress::{OnStop, Progress, StopShield};
use crate::{Error, Result};

/// Positions that are patched in one pass, each in a copy of the texts.
const GROUP: usize = 8;

/// A metric for each layer and position that an activation was exchanged at.
#[derive(Debug, Clone)]
pub struct Patching {
    /// `[layers, positions]`, or `[layers, heads]` of [`Decoder::patch_heads`], f64 on the CPU; NaN
    /// where Stop came first.
    pub values: Tensor,
    /// The layer of the first row; 0 of [`Decoder::patch`].
    pub first_layer: usize,
    /// The metric of the clean run, from which activations were taken.
    pub clean: f64,
    /// The metric of the corrupted run, into which they were put.
    pub corrupted: f64,
    /// Whether Stop was pressed before the end.
    pub interrupted: bool,
    /// The kind of point: its name without the layer.
    pub kind: String,
}

impl Decoder {
    /// Activation patching (Meng et al., 2022): for each layer and position, the metric of a run on
    /// `corrupted` in which the activation at `kind(layer)` and that position is the one of a run on
    /// `clean`. Both are tokens `[batch, positions]` of one shape; `metric` makes one number of
    /// logits `[batch, positions, vocab]`.
    ///
    /// ```
    /// use eigenlens::prelude::*;
    /// use eigenlens::model::logit_difference;
    /// # fn main() -> Result<()> {
    /// let model = Decoder::random(Config { vocab: 9, ..Config::llama(2, 2, 8, 16) }, 0, &Device::Cpu)?;
    /// let clean = Tensor::new(&[[1u32, 2, 3]], &Device::Cpu)?;
    /// let corrupted = Tensor::new(&[[1u32, 7, 3]], &Device::Cpu)?;
    /// let found = model.patch(&clean, &corrupted, HookPoint::ResidPre, |logits| {
    ///     logit_difference(logits, 4, 5)
    /// })?;
    /// assert_eq!(found.values.dims(), [2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Decoder::run`]; texts of two shapes; a point that has no row for each position
    /// (scores, patterns) or that the model does not have; a metric that is not one number;
    /// [`Error::Stopped`] when Stop is pressed, after which `stopped::<Patching>()` returns what was
    /// done.
    pub fn patch(
        &self,
        clean: &Tensor,
        corrupted: &Tensor,
        kind: fn(usize) -> HookPoint,
        metric: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Patching> {
        let (clean, corrupted) = self.checked_pair(clean, corrupted)?;
        if matches!(kind(0), HookPoint::Scores(_) | HookPoint::Pattern(_)) {
            let expected = "one with a row for each position, to be patched by position";
            return Err(Error::invalid("the hook point", expected, kind(0)));
        }
        let ((batch, positions), layers) = (clean.dims2()?, self.config().layers);
        let (logits, sources) =
            self.run(&clean, &Hooks::new().capture_all((0..layers).map(kind)))?;
        let clean = scalar(&metric(&logits)?)?;
        let streams = Hooks::new().capture_all((0..layers).map(HookPoint::ResidPre));
        let (logits, streams) = self.run(&corrupted, &streams)?;
        let corrupted = scalar(&metric(&logits)?)?;

        let mut values = vec![f64::NAN; layers * positions];
        let mut progress = Progress::new("patching", values.len() as u64, "place");
        let mut interrupted = false;
        let _shield = StopShield::new();
        'all: for layer in 0..layers {
            let (stream, point) = (streams.get(HookPoint::ResidPre(layer))?, kind(layer));
            for start in (0..positions).step_by(GROUP) {
                let group = GROUP.min(positions - start);
                let source = copies(sources.get(point)?, group)?;
                let own = own_positions(source.dims(), batch, start, self.device())?;
                let hooks = Hooks::new().replace(point, move |x| {
                    Ok(own.broadcast_as(x.shape())?.where_cond(&source, x)?)
                });
                let (logits, _) = self.run_from(layer, &copies(stream, group)?, &hooks)?;
                for at in 0..group {
                    let logits = logits.narrow(0, at * batch, batch)?;
                    values[layer * positions + start + at] = scalar(&metric(&logits)?)?;
                }
                let last = layer + 1 == layers && start + group == positions;
                if progress.advance(group as u64) && !last {
                    interrupted = true;
                    break 'all;
                }
            }
        }
        let values = Tensor::from_vec(values, (layers, positions), &Device::Cpu)?;
        let kind = kind(0).to_string();
        let kind = kind.split_once('.').map_or(kind.as_str(), |(_, name)| name).to_owned();
        Patching { values, first_layer: 0, clean, corrupted, interrupted, kind }.end()
    }

    /// The tokens of a clean and a corrupted text of one shape.
    pub(super) fn checked_pair(
        &self,
        clean: &Tensor,
        corrupted: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let (clean, corrupted) = (self.checked(clean)?, self.checked(corrupted)?);
        if clean.dims() != corrupted.dims() {
            let expected = format!("{:?}, as the clean ones", clean.dims());
            return Err(Error::shape("the corrupted tokens", expected, corrupted.dims()));
        }
        Ok((clean, corrupted))
    }
}

/// The rows of `x` again and again.
pub(super) fn copies(x: &Tensor, count: usize) -> Result<Tensor> {
    Ok(Tensor::cat(&vec![x; count], 0)?)
}

/// 1 at position `start + i` of copy i of a batch, of rank as `dims`.
fn own_positions(dims: &[usize], batch: usize, start: usize, device: &Device) -> Result<Tensor> {
    let (rows, positions) = (dims[0], dims[1]);
    let own: Vec<u8> = (0..rows)
        .flat_map(|row| (0..positions).map(move |at| u8::from(at == start + row / batch)))
        .collect();
    let mut shape = vec![1; dims.len()];
    shape[..2].copy_from_slice(&[rows, positions]);
    Ok(Tensor::from_vec(own, shape, device)?)
}

impl Patching {
    /// The result of a sweep, or what Stop makes of it.
    pub(super) fn end(self) -> Result<Self> {
        if !self.interrupted {
            return Ok(self);
        }
        let access = "`stopped::<eigenlens::model::Patching>()?` gives the places that were done.";
        OnStop::EndCell.end("patching", self, access)
    }

    /// How much of the way from the corrupted to the clean metric each exchange goes:
    /// `(value − corrupted) / (clean − corrupted)`, of the shape of the values.
    ///
    /// # Errors
    /// Runs whose metrics are equal.
    pub fn recovered(&self) -> Result<Tensor> {
        let way = self.clean - self.corrupted;
        if way == 0.0 || !way.is_finite() {
            let expected = "another for the clean than for the corrupted text";
            return Err(Error::invalid("the metric", expected, self.clean));
        }
        Ok(((&self.values - self.corrupted)? / way)?)
    }
}

show_as_text!(Patching);

impl fmt::Display for Patching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.interrupted { ", stopped early" } else { "" };
        writeln!(
            f,
            "{} patched: clean {:.4}, corrupted {:.4}{end}",
            self.kind, self.clean, self.corrupted
        )?;
        let rows = self.values.to_dtype(DType::F64).and_then(|values| values.to_vec2::<f64>());
        for (layer, row) in rows.unwrap_or_default().iter().enumerate() {
            write!(f, "{:>5}", self.first_layer + layer)?;
            row.iter().try_for_each(|value| write!(f, " {value:9.3}"))?;
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Config;
    use crate::model::analysis::logit_difference;

    #[test]
    fn a_sweep_is_its_single_runs() {
        let config = Config { vocab: 17, context: 16, ..Config::llama(2, 2, 8, 6) };
        let model = Decoder::random(config, 3, &Device::Cpu).unwrap();
        for var in model.variables() {
            var.set(&(var.as_tensor() * 10.).unwrap()).unwrap();
        }
        let clean = Tensor::arange(0u32, 11, &Device::Cpu).unwrap();
        let clean = Tensor::stack(&[&clean, &(&clean + 3.).unwrap()], 0).unwrap();
        let mut other = clean.to_vec2::<u32>().unwrap();
        (other[0][4], other[1][4]) = (16, 15);
        let corrupted = Tensor::new(other, &Device::Cpu).unwrap();
        let metric = |logits: &Tensor| logit_difference(logits, 3, 9);
        for kind in [HookPoint::ResidPre, HookPoint::Z, HookPoint::MlpOut, HookPoint::K] {
            let found = model.patch(&clean, &corrupted, kind, metric).unwrap();
            let values = found.values.to_vec2::<f64>().unwrap();
            assert!((found.clean - found.corrupted).abs() > 1e-3);
            for (layer, position) in [(0, 0), (0, 4), (1, 3), (1, 4), (1, 10)] {
                let point = kind(layer);
                let source = model.activations(&clean, &[point]).unwrap();
                let source = source.get(point).unwrap().clone();
                let hooks = Hooks::new().replace(point, move |x| {
                    let after = x.dim(1)? - position - 1;
                    let parts = [
                        x.narrow(1, 0, position)?,
                        source.narrow(1, position, 1)?,
                        x.narrow(1, position + 1, after)?,
                    ];
                    let parts: Vec<_> = parts.into_iter().filter(|x| x.dims()[1] > 0).collect();
                    Ok(Tensor::cat(&parts, 1)?)
                });
                let logits = model.run(&corrupted, &hooks).unwrap().0;
                let single = scalar(&metric(&logits).unwrap()).unwrap();
                let gap = (single - values[layer][position]).abs();
                assert!(gap < 1e-5, "{} {layer} {position}: {gap}", found.kind);
            }
            assert!(found.to_string().starts_with(&found.kind));
            found.recovered().unwrap();
        }
        let found = model.patch(&clean, &corrupted, HookPoint::ResidPre, metric).unwrap();
        // The texts differ at one place only: there all of the way is recovered, elsewhere nothing.
        let recovered = found.recovered().unwrap().to_vec2::<f64>().unwrap();
        assert!((recovered[0][4] - 1.).abs() < 1e-4 && recovered[0][3].abs() < 1e-4);
    }

    #[test]
    fn what_cannot_be_patched_is_refused() {
        let config = Config { vocab: 7, ..Config::llama(1, 2, 8, 6) };
        let model = Decoder::random(config, 3, &Device::Cpu).unwrap();
        let two = Tensor::new(&[[3u32, 1], [1, 2]], &Device::Cpu).unwrap();
        let message = |corrupted: &Tensor, kind: fn(usize) -> HookPoint| {
            let metric = |logits: &Tensor| logit_difference(logits, 1, 2);
            model.patch(&two, corrupted, kind, metric).unwrap_err().to_string()
        };
        assert!(message(&two.get(0).unwrap(), HookPoint::Z).contains("as the clean ones"));
        assert!(message(&two, HookPoint::Pattern).contains("a row for each position"));
        assert!(message(&two, HookPoint::Ln2PostScale).contains("norms of outputs"));
    }
}
