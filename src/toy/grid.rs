//! Dictionaries of several sizes and sparsities, trained together.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::dictionary::{Dictionary, Sparsity};
use super::streams::{ATOMS, SHUFFLE};
use crate::check::{check_finite, check_sizes};
use crate::display::show_as_text;
use crate::progress::OnStop;
use crate::random::Rng;
use crate::sae::SmallFit;
use crate::train::{Checkpoint, Fit, FitLoop, FitRow, History, TakeTensor};
use crate::{Error, Result};

/// How [`DictionaryGrid::fit`] trains.
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

    fn check(&self) -> Result<()> {
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
    fn members(&self) -> Vec<(Sparsity, usize)> {
        let row = |&sparsity| self.sizes.iter().map(move |&size| (sparsity, size));
        self.sparsities.iter().flat_map(row).collect()
    }
}

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
        member_names(&self.0.options)
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

fn member_names(options: &GridOptions) -> Vec<String> {
    let name = |(sparsity, size)| format!("{sparsity}, {size} atoms");
    options.members().into_iter().map(name).collect()
}

/// Random atoms of length 1, `[size, dims]`.
fn first_atoms(size: usize, dims: usize, seed: u64) -> Result<Vec<f32>> {
    let gaussian = Rng::stream(seed, ATOMS + size as u64).normal((size, dims), &Device::Cpu)?;
    let atoms = gaussian.broadcast_div(&gaussian.sqr()?.sum_keepdim(1)?.sqrt()?)?;
    Ok(atoms.flatten_all()?.to_vec1()?)
}

/// The members of a grid in training.
struct GridFit<'a> {
    options: &'a GridOptions,
    names: Vec<String>,
    /// `[n, dims]`.
    samples: Vec<f32>,
    dims: usize,
    /// Samples per step; the last of an epoch may have fewer.
    batch: usize,
    fits: Vec<SmallFit>,
    shuffle: Rng,
    /// The samples of this epoch in the order in which they come.
    order: Vec<u32>,
    x: Vec<f32>,
    /// Sums over the samples of this epoch, one per member.
    losses: Vec<f64>,
    snapshots: Vec<(usize, Vec<Vec<f32>>)>,
}

impl<'a> GridFit<'a> {
    fn new(options: &'a GridOptions, samples: Vec<f32>, dims: usize) -> Result<Self> {
        let start = |(sparsity, size): (Sparsity, usize)| {
            let (objective, k) = sparsity.objective();
            SmallFit::new(objective, k, first_atoms(size, dims, options.seed)?, dims, options.tied)
        };
        let fits = options.members().into_iter().map(start).collect::<Result<Vec<_>>>()?;
        let snapshots = if options.snapshot > 0 { vec![(0, all_atoms(&fits)?)] } else { vec![] };
        Ok(Self {
            options,
            names: member_names(options),
            batch: options.batch.min(samples.len() / dims),
            samples,
            dims,
            losses: vec![0.0; fits.len()],
            fits,
            shuffle: Rng::stream(options.seed, SHUFFLE),
            order: Vec::new(),
            x: Vec::new(),
            snapshots,
        })
    }

    fn num_samples(&self) -> usize {
        self.samples.len() / self.dims
    }

    fn steps_per_epoch(&self) -> usize {
        self.num_samples().div_ceil(self.batch)
    }
}

impl Fit for GridFit<'_> {
    fn step(&mut self, step: usize, learning_rate: f64) -> Result<f64> {
        let at = step % self.steps_per_epoch();
        if at == 0 {
            self.order = self.shuffle.permutation(self.num_samples());
        }
        let rows = self.order.chunks(self.batch).nth(at).unwrap_or_default();
        self.x.clear();
        for &row in rows {
            self.x.extend_from_slice(&self.samples[row as usize * self.dims..][..self.dims]);
        }
        let x = &*self.x;
        let fits = self.fits.par_iter_mut().zip(&mut self.losses).with_max_len(1);
        fits.try_for_each(|(fit, loss)| {
            *loss += fit.step(x, learning_rate)?;
            Ok::<_, Error>(())
        })?;
        Ok(self.losses.iter().sum())
    }

    fn row(&mut self, done: usize) -> Result<FitRow> {
        let epoch = done / self.steps_per_epoch();
        let losses: Vec<f64> =
            self.losses.iter().map(|loss| loss / self.num_samples() as f64).collect();
        self.losses.fill(0.0);
        if self.options.snapshot > 0 && epoch.is_multiple_of(self.options.snapshot) {
            self.snapshots.push((epoch, all_atoms(&self.fits)?));
        }
        let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
        Ok(FitRow { metrics: losses, note: format!("loss {best:.4} at best") })
    }

    fn state(&self) -> Result<HashMap<String, Tensor>> {
        let mut all = HashMap::from([self.shuffle.state()?]);
        for (i, fit) in self.fits.iter().enumerate() {
            let named = fit.state()?.into_iter();
            all.extend(named.map(|(name, tensor)| (format!("member.{i}.{name}"), tensor)));
            let atoms: Vec<f32> =
                self.snapshots.iter().flat_map(|(_, members)| &members[i]).copied().collect();
            if !atoms.is_empty() {
                let shape = (self.snapshots.len(), atoms.len() / self.snapshots.len());
                let snapshots = Tensor::from_vec(atoms, shape, &Device::Cpu)?;
                all.insert(format!("member.{i}.snapshots"), snapshots);
            }
        }
        Ok(all)
    }

    fn restore(&mut self, done: usize, take: &mut TakeTensor<'_>) -> Result<()> {
        let epochs = done / self.steps_per_epoch();
        if self.options.snapshot > 0 {
            let later = (1..=epochs).filter(|epoch| epoch.is_multiple_of(self.options.snapshot));
            self.snapshots.extend(later.map(|epoch| (epoch, Vec::new())));
            let shape = |size: usize| [self.snapshots.len(), size * self.dims];
            let sizes = self.options.members().into_iter().map(|(_, size)| size);
            let mut members = Vec::new();
            for (i, size) in sizes.enumerate() {
                let atoms = take(&format!("member.{i}.snapshots"), &shape(size))?;
                members.push(atoms.to_vec2::<f32>()?);
            }
            for (at, (_, atoms)) in self.snapshots.iter_mut().enumerate() {
                *atoms = members.iter().map(|member| member[at].clone()).collect();
            }
        }
        for (i, fit) in self.fits.iter_mut().enumerate() {
            fit.restore(done, &mut |name, shape| take(&format!("member.{i}.{name}"), shape))?;
        }
        self.shuffle.restore(take)
    }

    fn diverged_part(&self) -> Option<String> {
        let bad = self.losses.iter().position(|loss| !loss.is_finite())?;
        Some(self.names[bad].clone())
    }
}

/// The atoms of all members.
fn all_atoms(fits: &[SmallFit]) -> Result<Vec<Vec<f32>>> {
    fits.iter().map(SmallFit::atoms).collect()
}
