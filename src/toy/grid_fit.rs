//! The training of a grid: its members take steps on the same batches.

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::dictionary::Sparsity;
use super::grid_options::GridOptions;
use super::streams::{ATOMS, SHUFFLE};
use crate::random::Rng;
use crate::sae::SmallFit;
use crate::train::{Fit, FitRow, TakeTensor};
use crate::{Error, Result};

/// The members of a grid in training.
pub(super) struct GridFit<'a> {
    options: &'a GridOptions,
    pub(super) names: Vec<String>,
    /// `[n, dims]`.
    samples: Vec<f32>,
    dims: usize,
    /// Samples per step; the last of an epoch may have fewer.
    pub(super) batch: usize,
    pub(super) fits: Vec<SmallFit>,
    shuffle: Rng,
    /// The samples of this epoch in the order in which they come.
    order: Vec<u32>,
    x: Vec<f32>,
    /// Sums over the samples of this epoch, one per member.
    losses: Vec<f64>,
    /// Epoch and atoms of all members.
    pub(super) snapshots: Vec<(usize, Vec<Vec<f32>>)>,
}

impl<'a> GridFit<'a> {
    pub(super) fn new(options: &'a GridOptions, samples: Vec<f32>, dims: usize) -> Result<Self> {
        let start = |(sparsity, size): (Sparsity, usize)| {
            let (objective, k) = sparsity.objective();
            SmallFit::new(objective, k, first_atoms(size, dims, options.seed)?, dims, options.tied)
        };
        let fits = options.members().into_iter().map(start).collect::<Result<Vec<_>>>()?;
        let snapshots = if options.snapshot > 0 { vec![(0, all_atoms(&fits)?)] } else { vec![] };
        Ok(Self {
            options,
            names: options.member_names(),
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

/// Random atoms of length 1, `[size, dims]`.
fn first_atoms(size: usize, dims: usize, seed: u64) -> Result<Vec<f32>> {
    let gaussian = Rng::stream(seed, ATOMS + size as u64).normal((size, dims), &Device::Cpu)?;
    let atoms = gaussian.broadcast_div(&gaussian.sqr()?.sum_keepdim(1)?.sqrt()?)?;
    Ok(atoms.flatten_all()?.to_vec1()?)
}
