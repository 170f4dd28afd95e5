//! Dictionaries of several sizes and sparsities, trained together.

use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::dictionary::{Dictionary, Sparsity};
use super::grid_fit::GridFit;
use super::grid_options::GridOptions;
use crate::check::check_finite;
use crate::display::show_as_text;
use crate::progress::OnStop;
use crate::sae::SmallFit;
use crate::train::{Checkpoint, FitLoop, History};
use crate::{Error, Result};

/// Sparse autoencoders of every sparsity and size of a grid, trained together on the same batches.
/// A cheap handle.
///
/// Each minimises its own `‖x − x̂‖² + λ ‖c‖₁`, averaged over samples, by Adam; atoms have length 1.
/// Members of one size begin with the same atoms, so that they differ by their sparsity alone, and a
/// member learns the same in a grid as by itself: as [`Sae::fit`](crate::sae::Sae::fit) trains, with
/// no b and no auxiliary loss.
///
/// ```
/// use eigenlens::prelude::*;
/// # fn main() -> Result<()> {
/// let world = Superposition::new(SuperpositionConfig::new(6, 3, 1.5), 0)?;
/// let samples = world.sample(2_000, 1)?;
/// let options = GridOptions { epochs: 5, ..GridOptions::l1([0.1, 0.3], [6, 12]) };
/// let grid = DictionaryGrid::fit(&samples.x(), &options)?;
/// assert_eq!(grid.dictionary(1, 0)?.atoms().dims(), [6, 3]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct DictionaryGrid(Arc<GridData>);

#[derive(Debug)]
struct GridData {
    options: GridOptions,
    dictionaries: Vec<Dictionary>,
    history: History,
    /// Epoch and atoms of all members.
    snapshots: Vec<(usize, Vec<Vec<f32>>)>,
    dims: usize,
}

impl DictionaryGrid {
    /// Trains on samples `x`, `[n, dims]`. The same seed gives the same grid. With a checkpoint
    /// folder, a fit that was cut off goes on when it is called again with the same samples and
    /// options, and ends with the same weights as without the break. When Stop is pressed,
    /// [`OnStop`] says what is returned: by default the call fails, and `stopped::<DictionaryGrid>()`
    /// returns the grid as far as it was trained.
    ///
    /// # Errors
    /// Samples that are no matrix, none, or hold NaN; an empty grid, a negative penalty, a k above the
    /// size, a rate at which the loss diverges, a checkpoint of another fit or that cannot be written;
    /// [`Error::Stopped`] when Stop is pressed.
    pub fn fit(x: &Tensor, options: &GridOptions) -> Result<Self> {
        options.check()?;
        let (n, dims) = match *x.dims() {
            [n, dims] if n > 0 && dims > 0 => (n, dims),
            _ => return Err(Error::shape("the samples", "[n, dims], none of them 0", x.dims())),
        };
        check_finite("the samples", &x.to_dtype(DType::F32)?)?;
        let samples: Vec<f32> = x.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let members = options.members();
        let mut fit = GridFit::new(options, samples, dims)?;
        let names: Vec<&str> = fit.names.iter().map(String::as_str).collect();
        let mut history = History::new("epoch", &names);
        let epoch = n.div_ceil(fit.batch);
        let checkpoint = options.checkpoint.clone().map(|folder| {
            let asked =
                GridOptions { checkpoint: None, on_stop: OnStop::default(), ..options.clone() };
            Checkpoint::new(folder, format!("{asked:?} on {n} samples of {dims} dimensions"))
        });
        let run = FitLoop {
            report: epoch,
            checkpoint,
            ..FitLoop::new("training dictionaries", options.epochs * epoch, options.learning_rate)
        };
        run.run(&mut fit, &mut history)?;
        let GridFit { fits, snapshots, .. } = fit;
        let finish = |(fit, (sparsity, _)): (&SmallFit, &(Sparsity, usize))| {
            Dictionary::new(*sparsity, options.tied, fit.finish()?)
        };
        let dictionaries = fits.iter().zip(&members).map(finish).collect::<Result<_>>()?;
        let stopped = history.interrupted;
        let options = options.clone();
        let on_stop = options.on_stop;
        let grid = Self(Arc::new(GridData { options, dictionaries, history, snapshots, dims }));
        if !stopped {
            return Ok(grid);
        }
        let access =
            "`stopped::<DictionaryGrid>()?` gives the dictionaries as far as they were trained.";
        on_stop.end("the training of the dictionaries", grid, access)
    }

    /// How it was trained.
    pub fn options(&self) -> GridOptions {
        self.0.options.clone()
    }

    /// Mean loss of every member in each epoch, a column a member (`λ = 0.1, 12 atoms`).
    pub fn history(&self) -> History {
        self.0.history.clone()
    }

    /// The member of the grid's row (sparsity) and column (size).
    ///
    /// # Errors
    /// A row or column that is not there.
    pub fn dictionary(&self, sparsity: usize, size: usize) -> Result<Dictionary> {
        Ok(self.0.dictionaries[self.index(sparsity, size)?].clone())
    }

    /// All members, row by row.
    pub fn dictionaries(&self) -> Vec<Dictionary> {
        self.0.dictionaries.clone()
    }

    /// What tells the members apart, row by row.
    pub fn names(&self) -> Vec<String> {
        self.0.options.member_names()
    }

    /// Epochs of the snapshots.
    pub fn snapshot_epochs(&self) -> Vec<usize> {
        self.0.snapshots.iter().map(|(epoch, _)| *epoch).collect()
    }

    /// The atoms of one member over training, `[snapshots, size, dims]`.
    ///
    /// # Errors
    /// A member that is not there, or training without [`GridOptions::snapshot`].
    pub fn snapshots(&self, sparsity: usize, size: usize) -> Result<Tensor> {
        let index = self.index(sparsity, size)?;
        if self.0.snapshots.is_empty() {
            let expected = "above 0 in the options of the fit, to see atoms over training";
            return Err(Error::invalid("`snapshot`", expected, 0));
        }
        let atoms = |(_, all): &(usize, Vec<Vec<f32>>)| all[index].clone();
        let values: Vec<f32> = self.0.snapshots.iter().flat_map(atoms).collect();
        let size = self.0.dictionaries[index].size();
        let shape = (self.0.snapshots.len(), size, self.0.dims);
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    }

    /// Name and atoms over training of every member, for `plot_recovery`.
    ///
    /// # Errors
    /// Training without [`GridOptions::snapshot`].
    pub fn all_snapshots(&self) -> Result<Vec<(String, Tensor)>> {
        let width = self.0.options.sizes.len();
        let member = |(i, name)| Ok((name, self.snapshots(i / width, i % width)?));
        self.names().into_iter().enumerate().map(member).collect()
    }

    fn index(&self, sparsity: usize, size: usize) -> Result<usize> {
        let GridOptions { sparsities, sizes, .. } = &self.0.options;
        if sparsity >= sparsities.len() || size >= sizes.len() {
            let expected = format!("below {} and {}", sparsities.len(), sizes.len());
            return Err(Error::invalid(
                "the row and column of the grid",
                expected,
                format!("{sparsity}, {size}"),
            ));
        }
        Ok(sparsity * sizes.len() + size)
    }
}

show_as_text!(DictionaryGrid);

impl fmt::Display for DictionaryGrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GridOptions { sparsities, sizes, tied, .. } = &self.0.options;
        let kind = if *tied { "tied" } else { "untied" };
        let rows: Vec<String> = sparsities.iter().map(Sparsity::to_string).collect();
        write!(
            f,
            "{} {kind} dictionaries in {} dimensions: {} × {sizes:?} atoms, {} epochs{}",
            self.0.dictionaries.len(),
            self.0.dims,
            rows.join(", "),
            self.0.history.len(),
            if self.0.history.interrupted { ", stopped early" } else { "" },
        )
    }
}
