//! One training step by hand, for the common case: f32 on the CPU, no bias.
//!
//! The same numbers as candle's backward pass, in memory that is allocated once. With `δ` the
//! gradient of the loss with respect to a layer's output and `l = Le`, `r = Re`:
//!
//! ```text
//! ∂L = (δ ∘ r)ᵀ e     ∂R = (δ ∘ l)ᵀ e     δ ← (δ ∘ r) L + (δ ∘ l) R  [+ δ]
//! ```

use candle_core::{CpuStorage, DType, InplaceOp2, InplaceOp3, Layout, Tensor, Var, bail};
use rayon::prelude::*;

use super::ImageModel;
use crate::Result;
use crate::linalg::ProductInto;
use crate::train::{cross_entropy, gradients};

/// Entries a task of an entrywise product handles.
const CHUNK: usize = 1 << 15;

#[derive(Debug)]
pub(super) struct ImageStep {
    model: ImageModel,
    buffers: Buffers,
    gradients: Vec<Tensor>,
}

/// Memory for batches of up to some number of rows.
#[derive(Debug)]
struct Buffers {
    rows: usize,
    images: Tensor,
    /// Input of each layer and, last, of the head; `[rows, d]`.
    states: Vec<Tensor>,
    layers: Vec<LayerBuffers>,
    logits: Tensor,
    /// `δ` of a layer's output, and of its input.
    deltas: [Tensor; 2],
}

/// A layer's `l` and `r`, and their gradients; `[rows, d]`.
#[derive(Debug)]
struct LayerBuffers {
    left: Tensor,
    right: Tensor,
    left_delta: Tensor,
    right_delta: Tensor,
}

impl Buffers {
    fn new(model: &ImageModel, rows: usize) -> Result<Self> {
        let (config, device) = (model.config(), model.embed.device());
        let state = || Tensor::zeros((rows, config.d_hidden), DType::F32, device);
        let layer = || -> Result<LayerBuffers> {
            Ok(LayerBuffers {
                left: state()?,
                right: state()?,
                left_delta: state()?,
                right_delta: state()?,
            })
        };
        Ok(Self {
            rows,
            images: Tensor::zeros((rows, config.pixels()), DType::F32, device)?,
            states: (0..=config.layers).map(|_| state()).collect::<Result<_, _>>()?,
            layers: (0..config.layers).map(|_| layer()).collect::<Result<_>>()?,
            logits: Tensor::zeros((rows, config.classes), DType::F32, device)?,
            deltas: [state()?, state()?],
        })
    }

    /// The first `rows` rows of the same memory.
    fn first(&self, rows: usize) -> Result<Self> {
        let first = |tensor: &Tensor| tensor.narrow(0, 0, rows);
        let layer = |layer: &LayerBuffers| -> Result<LayerBuffers> {
            Ok(LayerBuffers {
                left: first(&layer.left)?,
                right: first(&layer.right)?,
                left_delta: first(&layer.left_delta)?,
                right_delta: first(&layer.right_delta)?,
            })
        };
        let [above, below] = &self.deltas;
        Ok(Self {
            rows,
            images: first(&self.images)?,
            states: self.states.iter().map(first).collect::<Result<_, _>>()?,
            layers: self.layers.iter().map(layer).collect::<Result<_>>()?,
            logits: first(&self.logits)?,
            deltas: [first(above)?, first(below)?],
        })
    }
}

impl ImageStep {
    /// A step for batches of about `rows` images, or `None` where candle's backward pass has to do.
    pub(super) fn new(model: &ImageModel, rows: usize) -> Result<Option<Self>> {
        let (config, embed) = (model.config(), &model.embed);
        if config.bias || !embed.device().is_cpu() || embed.dtype() != DType::F32 {
            return Ok(None);
        }
        Ok(Some(Self {
            model: model.clone(),
            buffers: Buffers::new(model, rows)?,
            gradients: model
                .named()
                .iter()
                .map(|(_, var)| var.zeros_like())
                .collect::<Result<_, _>>()?,
        }))
    }

    /// The gradients of the last step, in the order of [`ImageModel::named`].
    pub(super) fn gradients(&self) -> &[Tensor] {
        &self.gradients
    }

    /// The images of the given rows, in memory that the next call uses again.
    pub(super) fn gather(&mut self, images: &Tensor, rows: &[u32]) -> Result<Tensor> {
        self.reserve(rows.len())?;
        let target = self.buffers.images.narrow(0, 0, rows.len())?;
        target.inplace_op2(&images.contiguous()?, &Gather { rows })?;
        Ok(target)
    }

    fn reserve(&mut self, rows: usize) -> Result<()> {
        if rows > self.buffers.rows {
            self.buffers = Buffers::new(&self.model, rows)?;
        }
        Ok(())
    }

    /// Loss and logits of a batch; leaves the gradients in [`ImageStep::gradients`].
    pub(super) fn run(&mut self, images: &Tensor, labels: &Tensor) -> Result<(Tensor, Tensor)> {
        let rows = images.dim(0)?;
        self.reserve(rows)?;
        let buffers = self.buffers.first(rows)?;
        let images = images.contiguous()?;
        self.forward(&images, &buffers)?;
        let logits = Var::from_tensor(&buffers.logits)?;
        let loss = cross_entropy(&logits, labels)?;
        let delta = gradients(&loss, std::slice::from_ref(&logits))?.remove(0);
        self.backward(&images, &delta, &buffers)?;
        Ok((loss.detach(), logits.as_detached_tensor()))
    }

    fn forward(&self, images: &Tensor, buffers: &Buffers) -> Result<()> {
        let residual = self.model.config.residual;
        let Buffers { states, layers, logits, .. } = buffers;
        ProductInto::NT.write(&states[0], images, &self.model.embed)?;
        for (i, (layer, own)) in self.model.layers.iter().zip(layers).enumerate() {
            let (input, output) = (&states[i], &states[i + 1]);
            ProductInto::NT.write(&own.left, input, &layer.left)?;
            ProductInto::NT.write(&own.right, input, &layer.right)?;
            multiply(output, &own.left, &own.right)?;
            if residual {
                add(output, input)?;
            }
        }
        ProductInto::NT.write(logits, &states[layers.len()], &self.model.head)
    }

    fn backward(&self, images: &Tensor, delta: &Tensor, buffers: &Buffers) -> Result<()> {
        let Self { model, gradients, .. } = self;
        let Buffers { states, layers, deltas: [above, below], .. } = buffers;
        let (mut above, mut below) = (above, below);
        let head = gradients.len() - 1;
        ProductInto::TN.write(&gradients[head], delta, &states[layers.len()])?;
        ProductInto::NN.write(above, delta, &model.head)?;
        for (i, (layer, own)) in model.layers.iter().zip(layers).enumerate().rev() {
            let LayerBuffers { left, right, left_delta, right_delta } = own;
            multiply(left_delta, above, right)?;
            multiply(right_delta, above, left)?;
            // The embedding comes first, then left and right of each layer.
            ProductInto::TN.write(&gradients[1 + 2 * i], left_delta, &states[i])?;
            ProductInto::TN.write(&gradients[2 + 2 * i], right_delta, &states[i])?;
            ProductInto::NN.write(below, left_delta, &layer.left)?;
            ProductInto::NN.adding().write(below, right_delta, &layer.right)?;
            if model.config.residual {
                add(below, above)?;
            }
            std::mem::swap(&mut above, &mut below);
        }
        ProductInto::TN.write(&gradients[0], above, images)
    }
}

/// `target = a ∘ b`.
fn multiply(target: &Tensor, a: &Tensor, b: &Tensor) -> Result<()> {
    Ok(target.inplace_op3(a, b, &Entrywise { add: false })?)
}

/// `target = target + a`.
fn add(target: &Tensor, a: &Tensor) -> Result<()> {
    Ok(target.inplace_op3(a, a, &Entrywise { add: true })?)
}

struct Entrywise {
    add: bool,
}

impl InplaceOp3 for Entrywise {
    fn name(&self) -> &'static str {
        "entrywise"
    }

    fn cpu_fwd(
        &self,
        target: &mut CpuStorage,
        target_layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (CpuStorage::F32(target), CpuStorage::F32(a), CpuStorage::F32(b)) = (target, a, b)
        else {
            bail!("an entrywise step needs f32 tensors")
        };
        let (Some((start, end)), Some((a_start, a_end)), Some((b_start, b_end))) = (
            target_layout.contiguous_offsets(),
            a_layout.contiguous_offsets(),
            b_layout.contiguous_offsets(),
        ) else {
            bail!("an entrywise step needs contiguous tensors")
        };
        let inputs = a[a_start..a_end].par_chunks(CHUNK).zip(b[b_start..b_end].par_chunks(CHUNK));
        target[start..end].par_chunks_mut(CHUNK).zip(inputs).for_each(|(target, (a, b))| {
            if self.add {
                target.iter_mut().zip(a).for_each(|(target, a)| *target += a);
            } else {
                target.iter_mut().zip(a.iter().zip(b)).for_each(|(target, (a, b))| *target = a * b);
            }
        });
        Ok(())
    }
}

/// Copies rows of the second tensor to the first.
struct Gather<'a> {
    rows: &'a [u32],
}

impl InplaceOp2 for Gather<'_> {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn cpu_fwd(
        &self,
        target: &mut CpuStorage,
        target_layout: &Layout,
        source: &CpuStorage,
        source_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (CpuStorage::F32(target), CpuStorage::F32(source)) = (target, source) else {
            bail!("rows are gathered from and to f32 tensors")
        };
        let (Some((start, end)), Some((source_start, source_end))) =
            (target_layout.contiguous_offsets(), source_layout.contiguous_offsets())
        else {
            bail!("rows are gathered from and to contiguous tensors")
        };
        let width = target_layout.dims()[1];
        let source = &source[source_start..source_end];
        target[start..end].par_chunks_mut(width).zip(self.rows).for_each(|(target, row)| {
            target.copy_from_slice(&source[*row as usize * width..][..width]);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::bilinear::image::ImageConfig;
    use crate::random::Rng;

    #[test]
    fn it_equals_candles_backward_pass_for_batches_of_any_size() {
        for (layers, residual) in [(1, false), (1, true), (3, false), (3, true)] {
            let config = ImageConfig {
                height: 3,
                width: 4,
                classes: 3,
                d_hidden: 7,
                layers,
                residual,
                bias: false,
            };
            let model = ImageModel::new(config, 1, &Device::Cpu).unwrap();
            let parameters: Vec<Var> = model.named().into_iter().map(|(_, var)| var).collect();
            let mut step = ImageStep::new(&model, 9).unwrap().unwrap();
            for rows in [9, 4, 9] {
                let images = Rng::seed(rows as u64).normal((rows, 12), &Device::Cpu).unwrap();
                let labels: Vec<u32> = (0..rows as u32).map(|i| i % 3).collect();
                let labels = Tensor::new(labels, &Device::Cpu).unwrap();
                let (loss, logits) = step.run(&images, &labels).unwrap();
                let expected = model.run(&images, true).unwrap();
                let expected_loss = cross_entropy(&expected, &labels).unwrap();
                let expected_gradients = gradients(&expected_loss, &parameters).unwrap();
                let pairs = [(&loss, &expected_loss), (&logits, &expected)];
                let gradients = step.gradients().iter().zip(&expected_gradients);
                for (found, expected) in pairs.into_iter().chain(gradients) {
                    let gap = (found - expected).unwrap().abs().unwrap().flatten_all().unwrap();
                    assert!(gap.max(0).unwrap().to_scalar::<f32>().unwrap() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn gathered_rows_are_the_selected_ones() {
        let config = ImageConfig { height: 2, width: 3, d_hidden: 4, ..ImageConfig::default() };
        let model = ImageModel::new(config, 0, &Device::Cpu).unwrap();
        let mut step = ImageStep::new(&model, 2).unwrap().unwrap();
        let images = Rng::seed(0).normal((7, 6), &Device::Cpu).unwrap();
        for rows in [[4u32, 0].as_slice(), &[6, 6, 1], &[3]] {
            let expected = images.index_select(&Tensor::new(rows, &Device::Cpu).unwrap(), 0);
            let found = step.gather(&images, rows).unwrap().to_vec2::<f32>().unwrap();
            assert_eq!(found, expected.unwrap().to_vec2::<f32>().unwrap());
        }
    }

    #[test]
    fn other_models_are_left_to_candle() {
        let config = ImageConfig { height: 2, width: 2, d_hidden: 3, ..ImageConfig::default() };
        let biased = ImageConfig { bias: true, ..config };
        assert!(
            ImageStep::new(&ImageModel::new(biased, 0, &Device::Cpu).unwrap(), 2)
                .unwrap()
                .is_none()
        );
        let wide = ImageModel::new(config, 0, &Device::Cpu).unwrap().widened();
        assert!(ImageStep::new(&wide, 2).unwrap().is_none());
    }
}
