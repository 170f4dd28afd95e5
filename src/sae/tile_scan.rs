//! Codes from tiles of activations, computed by the exact product.

use super::Encoder;
use super::autoencoder::SaeData;
use super::codes::CodesPart;
use super::kind::code::TileRule;
use crate::linalg::{Packed, TileKernel};

/// An encoder, as all rows of a scan see it.
pub(super) struct TileScan<'a> {
    pub(super) sae: &'a SaeData,
    pub(super) m: usize,
    pub(super) d: usize,
    pub(super) encoder: &'a [f32],
    pub(super) bias: Option<Vec<f32>>,
    pub(super) shift: Option<Vec<f32>>,
    pub(super) kernel: TileKernel,
}

impl TileScan<'_> {
    /// The codes of a few rows.
    pub(super) fn codes(&self, rule: &impl TileRule, x: &[f32]) -> CodesPart {
        let x = Packed::new(self.kernel, x, self.d, self.shift.as_deref());
        let slacks = vec![0.0; x.rows()];
        let rows = self.choose(rule, &slacks, x.width(), |start, count, tile| {
            x.multiply(&self.encoder[start * self.d..][..count * self.d], tile);
        });
        let mut part = CodesPart::default();
        rows.into_iter().for_each(|row| push(rule, row, &mut part));
        part
    }

    /// Shows all features to `rule`, with what `multiply` writes for rows of the encoder: which is
    /// the first, how many, and where to. For as many rows as there are `slacks`: activations will
    /// be known to within these, which fill a tile up to `width`.
    pub(super) fn choose<T: TileRule>(
        &self,
        rule: &T,
        slacks: &[f32],
        width: usize,
        multiply: impl Fn(usize, usize, &mut [f32]),
    ) -> Vec<T::Row> {
        let (mut rows, mut bars): (Vec<_>, Vec<_>) =
            slacks.iter().map(|slack| rule.start(*slack)).unzip();
        bars.resize(width, f32::INFINITY);
        let tall = self.kernel.tall();
        let (mut tile, mut gate) = (vec![0f32; tall * width], Vec::new());
        if self.sae.architecture.encoder.maps() == 2 {
            gate.resize(tall * width, 0f32);
        }
        for first in (0..self.m).step_by(tall) {
            let count = tall.min(self.m - first);
            for (start, tile) in [(first, &mut tile), (self.m + first, &mut gate)] {
                if !tile.is_empty() {
                    let tile = &mut tile[..count * width];
                    multiply(start, count, tile);
                    self.add_bias(start, tile, width);
                }
            }
            let tile = &mut tile[..count * width];
            let both = tile.iter_mut().zip(&gate);
            match self.sae.architecture.encoder {
                Encoder::Linear => {}
                Encoder::Bilinear => both.for_each(|(h, gate)| *h *= gate),
                Encoder::Glu => both.for_each(|(h, gate)| *h *= 1.0 / (1.0 + (-gate).exp())),
            }
            for (feature, h) in (first as u32..).zip(tile.chunks_mut(width)) {
                rule.look(feature, h, &mut bars, &mut rows);
            }
        }
        rows
    }

    fn add_bias(&self, start: usize, tile: &mut [f32], width: usize) {
        let Some(bias) = &self.bias else { return };
        for (h, bias) in tile.chunks_mut(width).zip(&bias[start..]) {
            h.iter_mut().for_each(|h| *h += bias);
        }
    }
}

/// Appends what a row keeps.
fn push<T: TileRule>(rule: &T, row: T::Row, part: &mut CodesPart) {
    part.push(rule.entries(row).into_iter().filter(|(_, value)| rule.keeps(*value)));
}
