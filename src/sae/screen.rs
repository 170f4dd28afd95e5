//! Top-k codes by way of rounded rows, which name the few activations that are worth computing.

use super::codes::CodesPart;
use super::kind::code::TileRule;
use super::tile_scan::TileScan;

#[cfg(target_arch = "x86_64")]
pub(super) use rounded::Screen;

/// Where the processor has no faster products of rounded rows there is none.
#[cfg(not(target_arch = "x86_64"))]
pub(super) enum Screen {}

#[cfg(not(target_arch = "x86_64"))]
impl Screen {
    pub(super) fn new(_: &TileScan<'_>, _: &impl TileRule) -> Option<Self> {
        None
    }

    pub(super) fn codes(&self, _: &[f32]) -> Option<CodesPart> {
        match *self {}
    }
}

#[cfg(target_arch = "x86_64")]
mod rounded {
    use super::super::Encoder;
    use super::super::order::TopEntries;
    use super::*;
    use crate::linalg::{Avx2, Coarse, CoarsePacked, TileKernel, less, products};

    /// A code must keep less than one in so many features: what it keeps is computed twice.
    const MIN_FEATURES_PER_KEPT: usize = 64;
    /// Times its mean length that the longest row of the encoder may be: what is excluded depends on
    /// the longest.
    const MAX_INEQUALITY: f32 = 8.0;
    /// Products that are computed together.
    const PRODUCTS_TOGETHER: usize = 8;

    /// An encoder's rounded rows. What it chooses is exactly what a [`TileScan`] chooses: an activation
    /// that it leaves out falls short of the k-th largest by more than all rounding together.
    pub(in super::super) struct Screen<'a, T> {
        scan: &'a TileScan<'a>,
        rule: &'a T,
        encoder: Coarse,
        /// The largest bias.
        bias: f32,
        k: usize,
        /// What an activation must exceed to compete.
        floor: f32,
        avx2: Avx2,
    }

    impl<'a, T: TileRule> Screen<'a, T> {
        /// None where it would not be faster, or could not be sure.
        pub(in super::super) fn new(scan: &'a TileScan<'a>, rule: &'a T) -> Option<Self> {
            let avx2 = match scan.kernel {
                TileKernel::Faer => return None,
                TileKernel::Avx2(avx2) => avx2,
                TileKernel::Avx512(avx512) => avx512.avx2,
            };
            let kernel = scan.kernel.coarse()?;
            let (k, floor) = rule.screened()?;
            let linear = scan.sae.architecture.encoder == Encoder::Linear;
            if !linear || MIN_FEATURES_PER_KEPT * k > scan.m {
                return None;
            }
            let encoder = Coarse::new(kernel, scan.encoder, scan.d)?;
            let biases = scan.bias.iter().flatten();
            let bias = biases.fold(0f32, |most, bias| most.max(bias.abs()));
            let equal = encoder.inequality() < MAX_INEQUALITY;
            equal.then_some(Self { scan, rule, encoder, bias, k, floor, avx2 })
        }

        /// The codes of a few rows, unless one is too long or too short to be sure.
        pub(in super::super) fn codes(&self, x: &[f32]) -> Option<CodesPart> {
            let TileScan { d, shift, .. } = self.scan;
            let packed = CoarsePacked::new(x, *d, shift.as_deref())?;
            let slack = |row| packed.slack(row, &self.encoder, self.bias);
            let slacks: Vec<f32> = (0..packed.rows()).map(slack).collect();
            let multiply = |first, count, tile: &mut [f32]| {
                packed.multiply(&self.encoder, first, count, tile);
            };
            let rows = self.scan.choose(self.rule, &slacks, packed.width(), multiply);
            let (mut part, mut shifted) = (CodesPart::default(), vec![0f32; *d]);
            for (x, row) in x.chunks(*d).zip(rows) {
                less(x, shift.as_deref(), &mut shifted);
                let entries = self.rule.entries(row);
                let mut best = TopEntries::new(self.k, self.floor);
                let (groups, rest) = entries.as_chunks();
                let mut offer = |group: &[_; PRODUCTS_TOGETHER]| {
                    self.offer(&mut best, group, &shifted);
                };
                groups.iter().for_each(&mut offer);
                rest.iter().for_each(|entry| self.offer(&mut best, &[*entry], &shifted));
                let kept = best.into_sorted().into_iter();
                part.push(kept.filter(|(_, value)| self.rule.keeps(*value)));
            }
            Some(part)
        }

        /// Offers the activations of features, computed as a [`TileScan`] does.
        fn offer<const N: usize>(
            &self,
            best: &mut TopEntries,
            features: &[(u32, f32); N],
            x: &[f32],
        ) {
            let d = self.scan.d;
            let rows = features.map(|(i, _)| &self.scan.encoder[i as usize * d..][..d]);
            for ((i, _), product) in features.iter().zip(products(self.avx2, rows, x)) {
                let bias = self.scan.bias.as_ref().map(|bias| bias[*i as usize]);
                let h = bias.map_or(product, |bias| product + bias);
                if !best.misses(h) {
                    best.offer(*i, h);
                }
            }
        }
    }
}
