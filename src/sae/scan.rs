//! Encoding without the matrix that codes are chosen from.
//!
//! Of the m activations of a row a code keeps a few. They are computed in tiles that stay in the
//! cache, some features by some rows, and compared with what a row's code asks for so far; hardly any
//! is looked at again.

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::Sae;
use super::codes::CodesPart;
use super::kind::code::{LANES, TileRule, TileVisitor};
use super::screen::Screen;
use super::tile_scan::TileScan;
use crate::Result;
use crate::linalg::{TileKernel, with_values};
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
