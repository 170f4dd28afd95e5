//! One seeded generator on the host, so that CPU and GPU see the same numbers.

use candle_core::{DType, Device, Shape, Tensor};
use rand::{Rng as _, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

use crate::Result;

/// Numbers that one thread draws at a time.
const CHUNK: usize = 1 << 16;

/// Name of a generator's state in a checkpoint.
const DRAWN: &str = "drawn";

/// A seeded ChaCha8 generator. The same seed gives the same numbers on every machine and device.
///
/// ```
/// use eigenlens::random::Rng;
/// assert_eq!(Rng::seed(7).permutation(5), Rng::seed(7).permutation(5));
/// ```
#[derive(Debug, Clone)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// The generator of seed `seed`.
    pub fn seed(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// One of many generators of seed `seed` that do not depend on each other.
    pub(crate) fn stream(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self(rng)
    }

    /// How far it has drawn, in words of 32 bits, with a name for a checkpoint: with its seed this is
    /// all of its state.
    pub(crate) fn state(&self) -> Result<(String, Tensor)> {
        // Exact up to 2⁵³ words.
        let position = Tensor::new(&[self.0.get_word_pos() as f64], &Device::Cpu)?;
        Ok((DRAWN.to_owned(), position))
    }

    /// Puts a generator of the same seed where [`Rng::state`] was taken; `take` hands out a tensor of
    /// a name and shape.
    pub(crate) fn restore(
        &mut self,
        take: impl FnOnce(&str, &[usize]) -> Result<Tensor>,
    ) -> Result<()> {
        let position = take(DRAWN, &[1])?.to_dtype(DType::F64)?.to_vec1::<f64>()?[0];
        self.0.set_word_pos(position as u128);
        Ok(())
    }

    /// A uniformly random integer below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end.max(1))
    }

    /// Standard normal numbers, f32, of shape `shape` on `device`.
    pub fn normal(&mut self, shape: impl Into<Shape>, device: &Device) -> Result<Tensor> {
        let shape = shape.into();
        let mut values = vec![0f32; shape.elem_count()];
        self.add_normal(&mut values, 1.0);
        Ok(Tensor::from_vec(values, shape, device)?)
    }

    /// Adds `scale` times standard normal numbers to `values`.
    pub(crate) fn add_normal(&mut self, values: &mut [f32], scale: f32) {
        // Each chunk has a stream of its own, so that the numbers do not depend on how many
        // threads draw them.
        let seed = self.0.random();
        values.par_chunks_mut(CHUNK).enumerate().for_each(|(stream, chunk)| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(stream as u64);
            for value in chunk {
                let number: f32 = StandardNormal.sample(&mut rng);
                *value += scale * number;
            }
        });
    }

    /// Uniform numbers in `[low, high)`, f32, of shape `shape` on `device`.
    pub fn uniform(
        &mut self,
        low: f32,
        high: f32,
        shape: impl Into<Shape>,
        device: &Device,
    ) -> Result<Tensor> {
        let shape = shape.into();
        let values: Vec<f32> =
            (0..shape.elem_count()).map(|_| low + (high - low) * self.0.random::<f32>()).collect();
        Ok(Tensor::from_vec(values, shape, device)?)
    }

    /// Weights of a linear layer, `[outputs, inputs]`, f32: uniform in ±1/√inputs, which is
    /// PyTorch's default for `nn.Linear`.
    pub fn linear(&mut self, outputs: usize, inputs: usize, device: &Device) -> Result<Tensor> {
        let bound = 1.0 / (inputs.max(1) as f32).sqrt();
        self.uniform(-bound, bound, (outputs, inputs), device)
    }

    /// One uniform number in `[0, 1)`.
    pub fn unit(&mut self) -> f32 {
        self.0.random()
    }

    /// A uniformly random order of `0..n`.
    pub fn permutation(&mut self, n: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n as u32).collect();
        order.shuffle(&mut self.0);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generator_goes_on_from_its_position() {
        for draws in 0..40 {
            let mut rng = Rng::seed(3);
            (0..draws).for_each(|_| {
                let _ = rng.unit();
            });
            // An odd number of words has been drawn before numbers of 64 bits.
            let _ = rng.normal(3, &Device::Cpu).unwrap();
            let mut other = Rng::seed(3);
            let (name, state) = rng.state().unwrap();
            other
                .restore(|asked, shape| {
                    assert_eq!((asked, shape), (&*name, state.dims()));
                    Ok(state.clone())
                })
                .unwrap();
            assert_eq!(other.permutation(9), rng.permutation(9));
            assert_eq!(other.unit(), rng.unit());
        }
    }

    #[test]
    fn normal_numbers_are_normal_in_every_chunk_and_the_same_on_any_number_of_threads() {
        let draw = || -> Vec<f32> {
            let numbers = Rng::seed(3).normal(3 * CHUNK + 7, &Device::Cpu).unwrap();
            numbers.to_vec1().unwrap()
        };
        let numbers = draw();
        for chunk in numbers.chunks(CHUNK).take(3) {
            let n = chunk.len() as f64;
            let mean = chunk.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
            let square = chunk.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n;
            assert!(mean.abs() < 0.02 && (square - 1.0).abs() < 0.03, "{mean} {square}");
        }
        assert_ne!(numbers[..CHUNK], numbers[CHUNK..2 * CHUNK]);
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(numbers, alone.install(draw));
    }
}
