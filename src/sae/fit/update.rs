//! Gradients of single features, and Adam's step with them.

use rayon::prelude::*;

use super::part::Part;
use super::setup::Weight;
use crate::linalg::{dot, wide};
use crate::train::AdamStep;

/// Features whose rows one thread moves at a time.
const FEATURES: usize = 16;

/// Where the gradients of encoder and decoder come from.
#[derive(Debug)]
pub(super) enum Large<'a> {
    /// Matrices, `[m, d]` and `[m, d_out]`.
    Dense([&'a [f32]; 2]),
    /// Sums over the entries of codes, not summed yet.
    Sparse(Vec<&'a Part>),
}

/// The gradients of a step.
#[derive(Debug)]
pub(super) struct Gradients<'a> {
    /// Widths of encoder and decoder.
    pub(super) widths: [usize; 2],
    /// What the encoder was given.
    pub(super) centred: &'a [f32],
    pub(super) large: Large<'a>,
    /// Those of the bias and of all weights after it.
    pub(super) small: Vec<Vec<f32>>,
}

impl Gradients<'_> {
    /// Writes the gradients of one feature's rows of encoder and decoder.
    #[inline(always)]
    pub(super) fn feature(&self, feature: usize, encoder: &mut [f32], decoder: &mut [f32]) {
        let [d, out] = self.widths;
        match &self.large {
            Large::Dense([encoders, decoders]) => {
                encoder.copy_from_slice(&encoders[feature * d..][..d]);
                decoder.copy_from_slice(&decoders[feature * out..][..out]);
            }
            Large::Sparse(parts) => {
                encoder.fill(0.0);
                decoder.fill(0.0);
                for part in parts {
                    part.add_feature(feature, self.centred, encoder, decoder);
                }
            }
        }
    }

    /// Moves all weights; the decoder's rows keep their length of one.
    pub(super) fn take(
        &self,
        weights: &mut [Weight],
        means: &mut [Vec<f32>],
        squares: &mut [Vec<f32>],
        adam: AdamStep,
    ) {
        let mut lists = weights.iter_mut().zip(means).zip(squares);
        let (Some(encoder), Some(decoder)) = (lists.next(), lists.next()) else { return };
        for (((weight, mean), square), gradient) in lists.zip(&self.small) {
            adam.apply(&mut weight.values, gradient, mean, square);
        }
        let encoders = blocks(encoder, self.widths[0]);
        let decoders = blocks(decoder, self.widths[1]);
        let blocks: Vec<_> = encoders.zip(decoders).enumerate().collect();
        blocks.into_par_iter().for_each(|(at, (encoder, decoder))| {
            wide(|| self.take_block(at * FEATURES, encoder, decoder, adam));
        });
    }

    #[inline(always)]
    fn take_block(
        &self,
        first: usize,
        mut encoder: Block<'_>,
        mut decoder: Block<'_>,
        adam: AdamStep,
    ) {
        let [d, out] = self.widths;
        let (mut for_encoder, mut for_decoder) = (vec![0f32; d], vec![0f32; out]);
        for at in 0..encoder[0].len() / d {
            self.feature(first + at, &mut for_encoder, &mut for_decoder);
            let [row, mean, square] = encoder.each_mut().map(|part| &mut part[at * d..][..d]);
            adam.apply(row, &for_encoder, mean, square);
            let [row, mean, square] = decoder.each_mut().map(|part| &mut part[at * out..][..out]);
            let along = dot(&for_decoder, row);
            for_decoder.iter_mut().zip(&*row).for_each(|(g, entry)| *g -= along * entry);
            adam.apply(row, &for_decoder, mean, square);
            let length = dot(row, row).sqrt();
            row.iter_mut().for_each(|entry| *entry /= length);
        }
    }
}

/// Rows of some features, and Adam's means of their gradients and squared gradients.
type Block<'a> = [&'a mut [f32]; 3];

fn blocks<'a>(
    ((weight, mean), square): ((&'a mut Weight, &'a mut Vec<f32>), &'a mut Vec<f32>),
    width: usize,
) -> impl Iterator<Item = Block<'a>> {
    let size = FEATURES * width;
    let moments = mean.chunks_mut(size).zip(square.chunks_mut(size));
    let blocks = weight.values.chunks_mut(size).zip(moments);
    blocks.map(|(values, (mean, square))| [values, mean, square])
}
