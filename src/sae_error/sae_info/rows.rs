//! Activations and reconstructions of an info, in memory, from files or made again.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::data::{InfoData, KeptActivations};
use super::unit::reconstructed;
use crate::progress::safe_point;
use crate::sae_error::rows::{ErrorBlock, ErrorOrigin, ErrorRows};
use crate::store::Tensors;
use crate::{Error, Result};

/// Rows that are handed out at a time, of those in memory.
const ROWS_IN_MEMORY: usize = 4096;
/// The tensor in a file of activations.
pub(super) const ACTIVATIONS: &str = "activations";

/// The rows of an info.
#[derive(Debug, Clone)]
pub(super) struct InfoRows(pub(super) Arc<InfoData>);

impl InfoRows {
    fn device(&self) -> &Device {
        self.0.parts.sae.w_dec().device()
    }

    /// Calls `visit` with the number of the first row and activations `[rows, d]` on the
    /// autoencoder's device, from the first row to the last.
    ///
    /// # Errors
    /// Those of `visit` and of the model; a file that is not there or not as it was written;
    /// [`Error::Interrupted`] when Stop is pressed.
    pub(super) fn for_each_activations(
        &self,
        mut visit: impl FnMut(usize, Tensor) -> Result<()>,
    ) -> Result<()> {
        let (parts, device) = (&self.0.parts, self.device());
        let all = self.rows();
        if let KeptActivations::Memory(rows) = &*parts.activations {
            for start in (0..all).step_by(ROWS_IN_MEMORY) {
                safe_point("reading activations")?;
                let some = rows.narrow(0, start, ROWS_IN_MEMORY.min(all - start))?;
                visit(start, some.to_device(device)?)?;
            }
            return Ok(());
        }
        let mut start = 0;
        for unit in 0..parts.sample.units() {
            safe_point("reading activations")?;
            let count = parts.sample.kept(parts.sample.unit(unit)).len();
            if count == 0 {
                continue;
            }
            let rows = match &*parts.activations {
                KeptActivations::Files(paths) => {
                    let path = paths.get(unit).ok_or_else(|| {
                        Error::shape("the files of activations", "one a unit", paths.len())
                    })?;
                    let shape = [count, self.width()];
                    let rows = Tensors::open(path, device)?.take(ACTIVATIONS, &shape)?;
                    rows.to_dtype(DType::F32)?
                }
                _ => {
                    let model = parts.model.decoder(device)?;
                    parts.sample.activations(&model, parts.point, unit, device)?
                }
            };
            visit(start, rows)?;
            start += count;
        }
        Ok(())
    }
}

impl ErrorRows for InfoRows {
    fn width(&self) -> usize {
        self.0.parts.sae.d_model()
    }

    fn rows(&self) -> usize {
        self.0.parts.tokens.tokens.len()
    }

    fn contexts(&self) -> &[u32] {
        &self.0.parts.tokens.contexts
    }

    fn for_each_block(&self, visit: &mut dyn FnMut(ErrorBlock) -> Result<()>) -> Result<()> {
        let parts = &self.0.parts;
        self.for_each_activations(|start, activations| {
            let codes = self.0.codes_of(start..start + activations.dim(0)?)?;
            let reconstructions = reconstructed(&parts.sae, &activations, &codes)?;
            visit(ErrorBlock { start, activations, reconstructions })
        })
    }

    fn origin(&self) -> Option<ErrorOrigin> {
        let parts = &self.0.parts;
        let model = parts.model.decoder(self.device()).ok()?;
        Some(ErrorOrigin { model, sae: parts.sae.clone() })
    }
}
