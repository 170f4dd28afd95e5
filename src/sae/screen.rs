//! Top-k codes by way of rounded rows, which name the few activations that are worth computing.

use super::codes::Part;
use super::scan::Scan;

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::Screen;

/// Where the processor has no faster products of rounded rows there is none.
#[cfg(not(target_arch = "x86_64"))]
pub(super) enum Screen {}

#[cfg(not(target_arch = "x86_64"))]
impl Screen {
    pub(super) fn new(_: &Scan<'_>) -> Option<Self> {
        None
    }

    pub(super) fn codes(&self, _: &[f32]) -> Option<Part> {
        match *self {}
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::super::scan::{Chosen, push};
    use super::super::select::Best;
    use super::super::{Activation, Encoder, Rescale};
    use super::*;
    use crate::linalg::{Avx2, Coarse, CoarsePacked, TileKernel, less, products};

    /// A code must keep less than one in so many features: what it keeps is computed twice.
    const SPARSE: usize = 64;
    /// Times its mean length that the longest row of the encoder may be: what is excluded depends on
    /// the longest.
    const UNEQUAL: f32 = 8.0;
    /// Products that are computed together.
    const TOGETHER: usize = 4;

    /// An encoder's rounded rows. What it chooses is exactly what a [`Scan`] chooses: an activation
    /// that it leaves out falls short of the k-th largest by more than all rounding together.
    pub(in super::super) struct Screen<'a> {
        scan: &'a Scan<'a>,
        encoder: Coarse,
        /// The largest bias.
        bias: f32,
        k: usize,
        avx2: Avx2,
    }

    impl<'a> Screen<'a> {
        /// None where it would not be faster, or could not be sure.
        pub(in super::super) fn new(scan: &'a Scan<'a>) -> Option<Self> {
            let own = &scan.sae.architecture;
            let (TileKernel::Avx2(avx2), Activation::TopK { k, .. }) =
                (scan.kernel, own.activation)
            else {
                return None;
            };
            let simple = own.encoder == Encoder::Linear && own.rescale == Rescale::None;
            if !simple || SPARSE * k > scan.m {
                return None;
            }
            let encoder = Coarse::new(avx2, scan.encoder, scan.d)?;
            let biases = scan.bias.iter().flatten();
            let bias = biases.fold(0f32, |most, bias| most.max(bias.abs()));
            (encoder.inequality() < UNEQUAL).then_some(Self { scan, encoder, bias, k, avx2 })
        }

        /// The codes of a few rows, unless one is too long or too short to be sure.
        pub(in super::super) fn codes(&self, x: &[f32]) -> Option<Part> {
            let Scan { sae, d, shift, .. } = self.scan;
            let packed = CoarsePacked::new(x, *d, shift.as_deref())?;
            let slack = |row| packed.slack(row, &self.encoder, self.bias);
            let slacks: Vec<f32> = (0..packed.rows()).map(slack).collect();
            let chosen = Chosen::new(sae, &slacks, packed.width());
            let chosen = self.scan.choose(chosen, |first, count, tile| {
                packed.multiply(&self.encoder, first, count, tile);
            });
            let (mut part, mut shifted) = (Part::default(), vec![0f32; *d]);
            let relu = sae.keeps_positive();
            for (x, entries) in x.chunks(*d).zip(chosen.into_entries()) {
                less(x, shift.as_deref(), &mut shifted);
                let mut best = Best::new(self.k, if relu { 0.0 } else { f32::NAN });
                let (groups, rest) = entries.as_chunks();
                groups.iter().for_each(|group| self.offer::<TOGETHER>(&mut best, group, &shifted));
                rest.iter().for_each(|entry| self.offer(&mut best, &[*entry], &shifted));
                push(&mut part, best, relu);
            }
            Some(part)
        }

        /// Offers the activations of features, computed as a [`Scan`] does.
        fn offer<const N: usize>(&self, best: &mut Best, features: &[(u32, f32); N], x: &[f32]) {
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
