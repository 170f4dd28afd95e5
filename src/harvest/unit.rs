//! One unit of work: what some contexts give, in files of its own.

use candle_core::{DType, Tensor};

use super::code_rows::CodeRows;
use super::commit::StoredFile;
use super::feature_files::write_tally;
use super::folder::StoreFolder;
use super::native;
use super::piles::{Draw, is_kept, pile};
use super::run::Run;
use super::shard::{Layout, ShardRows};
use super::tally::Tally;
use super::token_rows::TokenRows;
use crate::sae::Codes;
use crate::{Error, Result};

/// What the model and the autoencoders make of some contexts that follow each other.
pub(super) struct BatchOutput {
    /// Number of tokens.
    pub(super) rows: usize,
    /// `[contexts, length - 1]`, if losses are kept.
    pub(super) losses: Option<Tensor>,
    /// `[tokens, width]` for each hook point of the run.
    pub(super) activations: Vec<Tensor>,
    /// For each autoencoder of the run.
    pub(super) codes: Vec<BatchCodes>,
}

/// What one autoencoder makes of some tokens.
pub(super) struct BatchCodes {
    pub(super) codes: Codes,
    /// `‖t − x̂‖²` of each token; none if the model does not have what the autoencoder predicts.
    pub(super) errors: Option<Vec<f32>>,
}

/// A unit that is being filled, batch after batch.
pub(super) struct Unit<'a> {
    place: &'a StoreFolder,
    run: &'a Run,
    number: usize,
    first_context: usize,
    tokens: TokenRows,
    layout: Layout,
    shards: Vec<ShardRows>,
    tallies: Vec<Tally>,
    codes: Vec<CodeRows>,
}

impl<'a> Unit<'a> {
    /// Unit number `number`, of contexts with these tokens.
    ///
    /// # Errors
    /// If the store cannot be written, or if the unit does not fit into memory.
    pub(super) fn new(
        place: &'a StoreFolder,
        run: &'a Run,
        number: usize,
        tokens: &[u32],
    ) -> Result<Self> {
        let (length, first_context) = (run.dataset.length, run.unit_range(number).start);
        let rows = TokenRows::new(run, tokens);
        let pile_of = |token: usize| {
            let context = (first_context + token / length) as u64;
            let row = (first_context * length + token) as u64;
            let share = run.activations.share();
            (rows.kept[token] && is_kept(run.seed, Draw::Activations, context, share))
                .then(|| pile(run.seed, row, run.piles))
        };
        let layout = Layout::new(tokens.len(), run.piles, pile_of);
        let dtype = dtype_of(run)?;
        let kept_points = if run.activations.share() > 0.0 { &*run.points } else { &[] };
        let shards = kept_points.iter().map(|point| ShardRows::new(&layout, point.width, dtype));
        let shards = shards.collect::<Result<_>>()?;
        let kept_codes = if run.codes.share() > 0.0 { run.saes.len() } else { 0 };
        let codes = (0..kept_codes).map(|_| CodeRows::new(place)).collect::<Result<_>>()?;
        let tallies = run.saes.iter().map(|sae| Tally::new(sae.features, run.examples)).collect();
        let tokens = rows;
        Ok(Self { place, run, number, first_context, tokens, layout, shards, tallies, codes })
    }

    /// Takes in what comes next.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(super) fn add(&mut self, batch: &BatchOutput) -> Result<()> {
        let run = self.run;
        let (length, first) = (run.dataset.length, self.tokens.len());
        self.tokens.add_losses(batch.losses.as_ref(), batch.rows)?;
        for (at, activations) in batch.activations.iter().enumerate() {
            self.tokens.add_norms(at, &squared_lengths(activations)?);
            if let Some(shard) = self.shards.get_mut(at) {
                shard.put(&self.layout, first, activations)?;
            }
        }
        let context = (self.first_context + first / length) as u64;
        for (at, BatchCodes { codes, errors }) in batch.codes.iter().enumerate() {
            let counts = (0..batch.rows).map(|row| codes.row(row).len());
            self.tokens.add_codes(at, errors.as_deref(), counts);
            let kept = &self.tokens.kept[first..first + batch.rows];
            self.tallies[at].add(codes, context, length, kept);
            if let Some(rows) = self.codes.get_mut(at) {
                let share = run.codes.share();
                rows.add(&run.saes[at], codes, context, length, |row| {
                    let context = context + (row / length) as u64;
                    kept[row] && is_kept(run.seed, Draw::Codes, context, share)
                })?;
            }
        }
        Ok(())
    }

    /// Number of tokens that are no `skip_tokens`.
    pub(super) fn kept_tokens(&self) -> u64 {
        self.tokens.kept.iter().filter(|kept| **kept).count() as u64
    }

    /// Writes the files.
    ///
    /// # Errors
    /// If one cannot be written.
    pub(super) fn finish(self) -> Result<Vec<StoredFile>> {
        let Self { place, run, number, first_context, tokens, layout, shards, tallies, codes } =
            self;
        let mut files = vec![tokens.write(place, run, number, first_context)?];
        for (shard, point) in shards.into_iter().zip(&run.points) {
            files.push(shard.write(place, &layout, number, &point.name, &run.identity)?);
        }
        for (rows, sae) in codes.into_iter().zip(&run.saes) {
            files.push(rows.write(number, sae)?);
        }
        for (tally, sae) in tallies.iter().zip(&run.saes) {
            files.extend(write_tally(tally, place, number, sae)?);
        }
        Ok(files)
    }
}

/// The type in which a store keeps activations.
pub(super) fn dtype_of(run: &Run) -> Result<DType> {
    native::named(&run.dtype).ok_or_else(|| {
        Error::invalid("the store's `dtype`", "F64, F32, F16 or BF16", run.dtype.clone())
    })
}

/// `‖x‖²` of each row of `[rows, width]`.
pub(super) fn squared_lengths(x: &Tensor) -> Result<Vec<f32>> {
    let x = if x.dtype() == DType::F64 { x.clone() } else { x.to_dtype(DType::F32)? };
    Ok(x.sqr()?.sum(1)?.to_dtype(DType::F32)?.to_vec1()?)
}
