//! Adam for a stack of dictionaries whose atoms keep their length.

use rayon::prelude::*;

use super::step::{Stack, dot};

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f32 = 1e-8;
/// Parameters a task updates.
const CHUNK: usize = 1 << 14;

/// Adam (Kingma and Ba, 2015). Of an atom's gradient the part along the atom is taken out before a
/// step, and the atom is scaled back to length 1 after it.
#[derive(Debug)]
pub(super) struct Adam {
    mean: Stack,
    square: Stack,
    dims: usize,
    steps: i32,
}

/// The numbers of one step.
#[derive(Debug, Clone, Copy)]
struct Rates {
    /// `η / (1 − β₁ᵗ)`.
    step: f32,
    /// `1 / √(1 − β₂ᵗ)`.
    root: f32,
}

impl Adam {
    pub(super) fn new(stack: &Stack, dims: usize) -> Self {
        let zeros = |values: &Vec<f32>| vec![0f32; values.len()];
        let zero = Stack {
            encoder: zeros(&stack.encoder),
            bias: zeros(&stack.bias),
            decoder: zeros(&stack.decoder),
        };
        Self { mean: zero.clone(), square: zero, dims, steps: 0 }
    }

    /// One step with learning rate `rate`; spoils the gradients.
    pub(super) fn update(&mut self, stack: &mut Stack, gradients: &mut Stack, rate: f64) {
        self.steps = self.steps.saturating_add(1);
        let rates = Rates {
            step: (rate / (1.0 - BETA1.powi(self.steps))) as f32,
            root: (1.0 / (1.0 - BETA2.powi(self.steps)).sqrt()) as f32,
        };
        let (mean, square) = (&mut self.mean, &mut self.square);
        let flat = [
            (&mut stack.encoder, &mut gradients.encoder, &mut mean.encoder, &mut square.encoder),
            (&mut stack.bias, &mut gradients.bias, &mut mean.bias, &mut square.bias),
        ];
        for (values, gradients, mean, square) in flat {
            values
                .par_chunks_mut(CHUNK)
                .zip(gradients.par_chunks(CHUNK))
                .zip(mean.par_chunks_mut(CHUNK).zip(square.par_chunks_mut(CHUNK)))
                .for_each(|((values, gradients), (mean, square))| {
                    rates.apply(values, gradients, mean, square);
                });
        }
        let dims = self.dims;
        let chunk = CHUNK.div_ceil(dims) * dims;
        stack
            .decoder
            .par_chunks_mut(chunk)
            .zip(gradients.decoder.par_chunks_mut(chunk))
            .zip(mean.decoder.par_chunks_mut(chunk).zip(square.decoder.par_chunks_mut(chunk)))
            .for_each(|((atoms, gradients), (mean, square))| {
                for (atom, gradient) in atoms.chunks(dims).zip(gradients.chunks_mut(dims)) {
                    let along = dot(atom, gradient);
                    gradient.iter_mut().zip(atom).for_each(|(g, a)| *g -= along * a);
                }
                rates.apply(atoms, gradients, mean, square);
                for atom in atoms.chunks_mut(dims) {
                    let length = dot(atom, atom).sqrt();
                    // An atom in one dimension cannot turn, and must not vanish on its way over 0.
                    if length > 0.0 {
                        let factor = 1.0 / length;
                        atom.iter_mut().for_each(|a| *a *= factor);
                    }
                }
            });
    }
}

impl Rates {
    fn apply(self, values: &mut [f32], gradients: &[f32], mean: &mut [f32], square: &mut [f32]) {
        let (keep1, keep2) = (BETA1 as f32, BETA2 as f32);
        let (fresh1, fresh2) = ((1.0 - BETA1) as f32, (1.0 - BETA2) as f32);
        let moments = mean.iter_mut().zip(square);
        for ((value, g), (m, v)) in values.iter_mut().zip(gradients).zip(moments) {
            *m = keep1 * *m + fresh1 * g;
            *v = keep2 * *v + fresh2 * g * g;
            *value -= self.step * *m / (v.sqrt() * self.root + EPSILON);
        }
    }
}
