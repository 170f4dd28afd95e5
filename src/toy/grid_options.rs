//! How a grid of dictionaries is trained.

use std::path::PathBuf;

use super::dictionary::Sparsity;
use crate::check::check_sizes;
use crate::progress::OnStop;
use crate::{Error, Result};

/// How [`DictionaryGrid::fit`](super::DictionaryGrid::fit) trains.
#[derive(Debug, Clone, PartialEq)]
pub struct GridOptions {
    /// Rows of the grid; L1 penalties of 0.03, 0.1, 0.3 and 1.
    pub sparsities: Vec<Sparsity>,
    /// Columns of the grid, numbers of atoms; 6, 12 and 24.
    pub sizes: Vec<usize>,
    /// Whether the encoder is the decoder's transpose; true.
    pub tied: bool,
    /// Passes over the samples; 20.
    pub epochs: usize,
    /// Samples a step; 256.
    pub batch: usize,
    /// Learning rate of the first step, falling to zero along a cosine; 3e-3.
    pub learning_rate: f64,
    /// Epochs from one snapshot of the atoms to the next; 0 for none, which is the default.
    pub snapshot: usize,
    /// Seed of the first atoms and of the shuffling; 0.
    pub seed: u64,
    /// A folder to save to after every epoch, and to go on from; none.
    pub checkpoint: Option<PathBuf>,
    /// What the fit does when Stop is pressed; it ends the cell.
    pub on_stop: OnStop,
}

impl Default for GridOptions {
    fn default() -> Self {
        Self {
            sparsities: [0.03, 0.1, 0.3, 1.0].map(Sparsity::L1).to_vec(),
            sizes: vec![6, 12, 24],
            tied: true,
            epochs: 20,
            batch: 256,
            learning_rate: 3e-3,
            snapshot: 0,
            seed: 0,
            checkpoint: None,
            on_stop: OnStop::default(),
        }
    }
}

impl GridOptions {
    /// L1 penalties times sizes.
    pub fn l1(
        penalties: impl IntoIterator<Item = f64>,
        sizes: impl IntoIterator<Item = usize>,
    ) -> Self {
        Self::of(penalties.into_iter().map(Sparsity::L1), sizes)
    }

    /// Sparsities of any kind times sizes.
    pub fn of(
        sparsities: impl IntoIterator<Item = Sparsity>,
        sizes: impl IntoIterator<Item = usize>,
    ) -> Self {
        let (sparsities, sizes) = (sparsities.into_iter().collect(), sizes.into_iter().collect());
        Self { sparsities, sizes, ..Self::default() }
    }

    pub(super) fn check(&self) -> Result<()> {
        check_sizes(&[
            ("the number of sparsities", self.sparsities.len()),
            ("the number of sizes", self.sizes.len()),
            ("the number of epochs", self.epochs),
            ("the batch", self.batch),
        ])?;
        for &size in &self.sizes {
            check_sizes(&[("the size of a dictionary", size)])?;
            self.sparsities.iter().try_for_each(|sparsity| sparsity.check(size))?;
        }
        if !(self.learning_rate > 0.0 && self.learning_rate <= 1.0) {
            // Atoms have length 1: a longer step could turn them into anything.
            let found = self.learning_rate;
            return Err(Error::invalid("the learning rate", "above 0 and at most 1", found));
        }
        Ok(())
    }

    /// Sparsity and size of the members, row by row.
    pub(super) fn members(&self) -> Vec<(Sparsity, usize)> {
        let row = |&sparsity| self.sizes.iter().map(move |&size| (sparsity, size));
        self.sparsities.iter().flat_map(row).collect()
    }

    /// What tells the members apart, row by row: `λ = 0.1, 12 atoms`.
    pub(super) fn member_names(&self) -> Vec<String> {
        let name = |(sparsity, size)| format!("{sparsity}, {size} atoms");
        self.members().into_iter().map(name).collect()
    }
}
