//! StepGradients of single features, and Adam's step with them.

use rayon::prelude::*;

use super::reconstruction::Reconstruction;
use super::shape::Widths;
use super::weights::{KindWeights, Parameter, SmallWeights};
use crate::linalg::{dot, with_avx2_if_present};
use crate::sae::kind::training::SaeKind;
use crate::train::AdamStep;

/// Features whose rows one thread moves at a time.
const FEATURES_PER_TASK: usize = 16;

/// Where the gradients of encoder and decoder come from.
#[derive(Debug)]
pub(super) enum Large<'a> {
    /// Matrices, `[m, d]` and `[m, d_out]`.
    Dense([&'a [f32]; 2]),
    /// BatchSums over the entries of codes, not summed yet.
    Sparse(Vec<&'a Reconstruction>),
}

/// The gradients of a step.
pub(super) struct StepGradients<'a, K: SaeKind> {
    /// Widths of encoder and decoder.
    pub(super) widths: Widths,
    /// What the encoder was given.
    pub(super) centred: &'a [f32],
    pub(super) large: Large<'a>,
    pub(super) small: SmallWeights<K, Vec<f32>>,
}

impl<K: SaeKind> StepGradients<'_, K> {
    /// Writes the gradients of one feature's rows of encoder and decoder.
    #[inline(always)]
    pub(super) fn feature(&self, feature: usize, encoder: &mut [f32], decoder: &mut [f32]) {
        let (d, out) = (self.widths.input, self.widths.output);
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
    pub(super) fn apply(&self, weights: &mut KindWeights<K, Parameter>, adam: AdamStep) {
        for (weight, gradient) in weights.small.refs_mut().into_iter().zip(self.small.refs()) {
            let Parameter { values, mean, square, .. } = weight;
            adam.apply(values, gradient, mean, square);
        }
        let decoders = rows(&mut weights.decoder, self.widths.output);
        match &mut weights.encoder {
            Some(encoder) => {
                let encoders = rows(encoder, self.widths.input);
                let tasks: Vec<_> = encoders.map(Some).zip(decoders).enumerate().collect();
                self.apply_tasks(tasks, adam);
            }
            None => self.apply_tasks(decoders.map(|rows| (None, rows)).enumerate().collect(), adam),
        }
    }

    fn apply_tasks(
        &self,
        tasks: Vec<(usize, (Option<RowsOfTask<'_>>, RowsOfTask<'_>))>,
        adam: AdamStep,
    ) {
        tasks.into_par_iter().for_each(|(at, (encoder, decoder))| {
            with_avx2_if_present(|| {
                self.apply_task(at * FEATURES_PER_TASK, encoder, decoder, adam)
            });
        });
    }

    #[inline(always)]
    fn apply_task(
        &self,
        first: usize,
        mut encoder: Option<RowsOfTask<'_>>,
        mut decoder: RowsOfTask<'_>,
        adam: AdamStep,
    ) {
        let (d, out) = (self.widths.input, self.widths.output);
        let (mut for_encoder, mut for_decoder) = (vec![0f32; d], vec![0f32; out]);
        for at in 0..decoder[0].len() / out {
            self.feature(first + at, &mut for_encoder, &mut for_decoder);
            match &mut encoder {
                Some(encoder) => {
                    let rows = encoder.each_mut().map(|part| &mut part[at * d..][..d]);
                    let [row, mean, square] = rows;
                    adam.apply(row, &for_encoder, mean, square);
                }
                None => for_decoder.iter_mut().zip(&for_encoder).for_each(|(to, g)| *to += g),
            }
            let [row, mean, square] = decoder.each_mut().map(|part| &mut part[at * out..][..out]);
            let along = dot(&for_decoder, row);
            for_decoder.iter_mut().zip(&*row).for_each(|(g, entry)| *g -= along * entry);
            adam.apply(row, &for_decoder, mean, square);
            let length = dot(row, row).sqrt();
            // A row that has vanished on its way over 0 has no direction to keep.
            if length > 0.0 {
                row.iter_mut().for_each(|entry| *entry /= length);
            }
        }
    }
}

/// CodeRows of some features, and Adam's means of their gradients and squared gradients.
type RowsOfTask<'a> = [&'a mut [f32]; 3];

fn rows(weight: &mut Parameter, width: usize) -> impl Iterator<Item = RowsOfTask<'_>> {
    let size = FEATURES_PER_TASK * width;
    let Parameter { values, mean, square, .. } = weight;
    let moments = mean.chunks_mut(size).zip(square.chunks_mut(size));
    let rows = values.chunks_mut(size).zip(moments);
    rows.map(|(values, (mean, square))| [values, mean, square])
}
