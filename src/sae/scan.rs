//! Encoding without the matrix that codes are chosen from.
//!
//! Of the m activations of a row a code keeps a few. They are computed in tiles that stay in the
//! cache, some features by some rows, and compared with what a row's code asks for so far; hardly any
//! is looked at again.

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::autoencoder::SaeData;
use super::codes::CodesPart;
use super::kind::code::{LANES, TileRule, TileVisitor};
use super::screen::Screen;
use super::{Encoder, Sae};
use crate::Result;
use crate::linalg::{Packed, TileKernel, with_values};
use crate::progress::SafePoint;

/// Rows that one thread encodes at a time.
const ROWS_PER_TASK: usize = 128;
/// Rows from which on this is faster than a product of all.
const MIN_ROWS_FOR_TILES: usize = 8;
/// Rows from which on a screen is worth its making.
const MIN_ROWS_FOR_SCREEN: usize = 1024;

impl Sae {
    /// Whether [`Sae::scan`] can encode the rows `x`.
    pub(super) fn scans(&self, x: &Tensor) -> bool {
        let here = |tensor: &Tensor| tensor.device().is_cpu() && tensor.dtype() == DType::F32;
        self.inner().has_tiles()
            && here(x)
            && here(self.w_enc())
            && x.dims()[0] >= MIN_ROWS_FOR_TILES
    }

    /// The codes of rows `x` `[rows, d]` as the encoder sees them, not yet centred.
    pub(super) fn scan(&self, x: &Tensor) -> Result<Vec<CodesPart>> {
        self.scan_by(TileKernel::best(), x.dims()[0] >= MIN_ROWS_FOR_SCREEN, x)
    }

    /// The same by a certain kernel, and with a [`Screen`] where that is possible and wanted.
    pub(super) fn scan_by(
        &self,
        kernel: TileKernel,
        screen: bool,
        x: &Tensor,
    ) -> Result<Vec<CodesPart>> {
        let values = |tensor: &Tensor| tensor.to_vec1::<f32>();
        let bias = self.encoder_bias().map(values).transpose()?;
        let shift = self.architecture().centred.then(|| values(self.b_dec())).transpose()?;
        let (sae, m, d) = (self.inner(), self.features(), self.d_model());
        let safe = SafePoint::new("encoding");
        with_values(self.w_enc(), |encoder| {
            let scan = TileScan { sae, m, d, encoder, bias, shift, kernel };
            with_values(x, |x| {
                let parts = sae.visit_tiles(ScannedRows { scan: &scan, x, screen, safe: &safe });
                parts.unwrap_or_default()
            })
        })?
    }
}

/// Rows to encode.
struct ScannedRows<'a> {
    scan: &'a TileScan<'a>,
    x: &'a [f32],
    screen: bool,
    safe: &'a SafePoint,
}

impl TileVisitor for ScannedRows<'_> {
    type Output = Vec<CodesPart>;

    fn visit<T: TileRule>(self, rule: &T) -> Vec<CodesPart> {
        let Self { scan, x, screen, safe } = self;
        let screen = if screen { Screen::new(scan, rule) } else { None };
        let share = (x.len() / scan.d).div_ceil(rayon::current_num_threads());
        let rows = share.next_multiple_of(LANES).min(ROWS_PER_TASK);
        let screened = |x| screen.as_ref().and_then(|screen| screen.codes(x));
        let codes = |x| match safe.is_stopped() {
            true => CodesPart::default(),
            false => screened(x).unwrap_or_else(|| scan.codes(rule, x)),
        };
        x.par_chunks(rows * scan.d).map(codes).collect()
    }
}

/// What all rows have in common.
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
    fn codes(&self, rule: &impl TileRule, x: &[f32]) -> CodesPart {
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
pub(super) fn push<T: TileRule>(rule: &T, row: T::Row, part: &mut CodesPart) {
    part.push(rule.entries(row).into_iter().filter(|(_, value)| rule.keeps(*value)));
}
