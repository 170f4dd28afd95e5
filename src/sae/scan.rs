//! Encoding without the matrix that codes are chosen from.
//!
//! Of the m activations of a row a code keeps a few. They are computed in tiles that stay in the
//! cache, some features by some rows, and compared with what a row's code asks for so far; hardly any
//! is looked at again.

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::autoencoder::Inner;
use super::codes::Part;
use super::screen::Screen;
use super::select::Best;
use super::{Activation, Encoder, Rescale, Sae};
use crate::Result;
use crate::linalg::{Packed, TileKernel, with_values};
use crate::progress::SafePoint;

/// Rows that one thread encodes at a time.
const ROWS: usize = 128;
/// Rows from which on this is faster than a product of all.
const FROM: usize = 8;
/// Rows from which on a screen is worth its making.
const SCREEN_FROM: usize = 1024;
/// Activations that are compared together.
const LANES: usize = 16;

impl Sae {
    /// Whether [`Sae::scan`] can encode the rows `x`.
    pub(super) fn scans(&self, x: &Tensor) -> bool {
        let own = self.architecture();
        let one_by_one = match own.activation {
            Activation::Relu | Activation::JumpRelu | Activation::Gated => true,
            // Undone, what is compared is not what is kept.
            Activation::TopK { .. } => own.rescale != Rescale::Undone,
            _ => false,
        };
        let here = |tensor: &Tensor| tensor.device().is_cpu() && tensor.dtype() == DType::F32;
        one_by_one && here(x) && here(self.w_enc()) && x.dims()[0] >= FROM
    }

    /// The codes of rows `x` `[rows, d]` as the encoder sees them, not yet centred.
    pub(super) fn scan(&self, x: &Tensor) -> Result<Vec<Part>> {
        self.scan_by(TileKernel::best(), x.dims()[0] >= SCREEN_FROM, x)
    }

    /// The same by a certain kernel, and with a [`Screen`] where that is possible and wanted.
    pub(super) fn scan_by(
        &self,
        kernel: TileKernel,
        screen: bool,
        x: &Tensor,
    ) -> Result<Vec<Part>> {
        let values = |tensor: &Tensor| tensor.to_vec1::<f32>();
        let bias = self.encoder_bias().map(values).transpose()?;
        let shift = self.architecture().centred.then(|| values(self.b_dec())).transpose()?;
        let (sae, m, d) = (self.inner(), self.features(), self.d_model());
        let safe = SafePoint::new("encoding");
        with_values(self.w_enc(), |encoder| {
            let scan = Scan { sae, m, d, encoder, bias, shift, kernel };
            let screen = if screen { Screen::new(&scan) } else { None };
            with_values(x, |x| {
                let share = (x.len() / d).div_ceil(rayon::current_num_threads());
                let rows = share.next_multiple_of(LANES).min(ROWS);
                let screened = |x| screen.as_ref().and_then(|screen| screen.codes(x));
                let codes = |x| match safe.is_stopped() {
                    true => Part::default(),
                    false => screened(x).unwrap_or_else(|| scan.codes(x)),
                };
                x.par_chunks(rows * d).map(codes).collect()
            })
        })?
    }
}

/// What all rows have in common.
pub(super) struct Scan<'a> {
    pub(super) sae: &'a Inner,
    pub(super) m: usize,
    pub(super) d: usize,
    pub(super) encoder: &'a [f32],
    pub(super) bias: Option<Vec<f32>>,
    pub(super) shift: Option<Vec<f32>>,
    pub(super) kernel: TileKernel,
}

impl<'a> Scan<'a> {
    fn codes(&self, x: &[f32]) -> Part {
        let x = Packed::new(self.kernel, x, self.d, self.shift.as_deref());
        let chosen = Chosen::new(self.sae, &vec![0.0; x.rows()], x.width());
        let chosen = self.choose(chosen, |start, count, tile| {
            x.multiply(&self.encoder[start * self.d..][..count * self.d], tile);
        });
        chosen.into_part()
    }

    /// Shows all features to `chosen`, with what `multiply` writes for rows of the encoder: which is
    /// the first, how many, and where to.
    pub(super) fn choose(
        &self,
        mut chosen: Chosen<'a>,
        multiply: impl Fn(usize, usize, &mut [f32]),
    ) -> Chosen<'a> {
        let (tall, width) = (self.kernel.tall(), chosen.bars.len());
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
                chosen.look(feature, h);
            }
        }
        chosen
    }

    fn add_bias(&self, start: usize, tile: &mut [f32], width: usize) {
        let Some(bias) = &self.bias else { return };
        for (h, bias) in tile.chunks_mut(width).zip(&bias[start..]) {
            h.iter_mut().for_each(|h| *h += bias);
        }
    }
}

/// What a few rows' codes keep of the features seen so far.
pub(super) struct Chosen<'a> {
    sae: &'a Inner,
    /// What each row's activation must exceed to be looked at, and more than any for the rows that
    /// fill a tile.
    bars: Vec<f32>,
    rows: Rows,
}

enum Rows {
    /// The k largest of each row.
    Largest(Vec<Best>),
    /// All that a row has above its features' thresholds.
    Above(Vec<Vec<(u32, f32)>>),
}

impl<'a> Chosen<'a> {
    /// For as many rows as there are `slacks`: activations will be known to within these. Other
    /// than 0 they may be for top-k alone.
    pub(super) fn new(sae: &'a Inner, slacks: &[f32], width: usize) -> Self {
        let (mut bars, rows) = match sae.architecture.activation {
            Activation::TopK { k, relu } => {
                // Where only positive ones are kept, the others need not compete.
                let bar = |slack: &f32| if relu { -slack } else { f32::NAN };
                let best = |slack: &f32| Best::new(k, bar(slack)).within(2.0 * slack);
                let rows = Rows::Largest(slacks.iter().map(best).collect());
                (slacks.iter().map(bar).collect(), rows)
            }
            _ => (vec![0.0; slacks.len()], Rows::Above(vec![Vec::new(); slacks.len()])),
        };
        bars.resize(width, f32::INFINITY);
        Self { sae, bars, rows }
    }

    /// Takes in a feature's activations in all rows.
    fn look(&mut self, feature: u32, h: &mut [f32]) {
        match &self.rows {
            Rows::Largest(_) if self.sae.architecture.rescale == Rescale::Kept => {
                let length = self.sae.lengths[feature as usize];
                h.iter_mut().for_each(|h| *h *= length);
            }
            Rows::Largest(_) => {}
            Rows::Above(rows) => self.bars[..rows.len()].fill(self.sae.bar(feature)),
        }
        let (h, bars) = (h.as_chunks::<LANES>().0, self.bars.as_chunks_mut::<LANES>().0);
        for (group, (h, bars)) in h.iter().zip(bars).enumerate() {
            // Without a branch, so that the compiler compares several at once.
            let short = h.iter().zip(&*bars).fold(true, |short, (h, bar)| short & (h <= bar));
            if short {
                continue;
            }
            for (row, (h, bar)) in (group * LANES..).zip(h.iter().zip(bars)) {
                if *h <= *bar {
                    continue;
                }
                match &mut self.rows {
                    Rows::Largest(rows) => {
                        let Some(best) = rows.get_mut(row) else { break };
                        best.offer(feature, *h);
                        *bar = best.bar();
                    }
                    Rows::Above(rows) => {
                        let Some(kept) = rows.get_mut(row) else { break };
                        kept.extend(self.sae.admit(feature, *h).map(|value| (feature, value)));
                    }
                }
            }
        }
    }

    fn into_part(self) -> Part {
        let mut part = Part::default();
        let relu = self.sae.keeps_positive();
        match self.rows {
            Rows::Largest(rows) => rows.into_iter().for_each(|row| push(&mut part, row, relu)),
            Rows::Above(rows) => rows.into_iter().for_each(|row| part.push(row)),
        }
        part
    }

    /// For top-k, the entries of each row that may be among the largest, in order.
    pub(super) fn into_entries(self) -> Vec<Vec<(u32, f32)>> {
        match self.rows {
            Rows::Largest(rows) => rows.into_iter().map(sorted).collect(),
            Rows::Above(rows) => rows,
        }
    }
}

fn sorted(row: Best) -> Vec<(u32, f32)> {
    let mut row = row.into_entries();
    row.sort_unstable_by_key(|(feature, _)| *feature);
    row
}

/// Appends a row's largest, with `relu` the positive ones.
pub(super) fn push(part: &mut Part, row: Best, relu: bool) {
    part.push(sorted(row).into_iter().filter(|(_, value)| !relu || *value > 0.0));
}
