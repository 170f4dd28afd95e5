//! Where recovery succeeds and where it fails.

use std::fmt;

use candle_core::{Device, Tensor};

use super::grid::DictionaryGrid;
use super::grid_options::GridOptions;
use super::metrics::mmcs;
use super::superposition::Superposition;
use crate::display::show_as_text;
use crate::progress::OnStop;
use crate::{Error, Result};

/// How much of the truth dictionaries find, against the number of active features.
#[derive(Debug, Clone)]
pub struct PhaseDiagram {
    active: Vec<f64>,
    names: Vec<String>,
    mmcs: Vec<Vec<f64>>,
    /// Whether Stop ended it before the last number of active features.
    pub interrupted: bool,
}

impl PhaseDiagram {
    /// Trains the grid of `options` once for every mean number of `active` features in `world`, on
    /// `samples` fresh samples each, and notes the [`mmcs`] of the truth with each member. The
    /// directions stay the same. When Stop is pressed, `on_stop` of the options says what is returned:
    /// by default the call fails, and `stopped::<PhaseDiagram>()` returns the numbers that were done.
    ///
    /// # Errors
    /// No numbers, one that cannot be had, no samples, options that the fit refuses;
    /// [`Error::Stopped`], or [`Error::Interrupted`] before the first is done, when Stop is pressed.
    pub fn of(
        world: &Superposition,
        active: &[f64],
        samples: usize,
        options: &GridOptions,
    ) -> Result<Self> {
        crate::check::check_sizes(&[("the number of numbers of active features", active.len())])?;
        // All worlds first, so that a bad number is refused before hours of training.
        let worlds: Vec<Superposition> =
            active.iter().map(|&active| world.with_active(active)).collect::<Result<_>>()?;
        let truth = world.truth();
        // A grid that Stop cuts short is left out, and this call ends by its own rule.
        let member = GridOptions { on_stop: OnStop::ReturnPartial, ..options.clone() };
        let mut diagram = Self { active: vec![], names: vec![], mmcs: vec![], interrupted: false };
        for (&number, world) in active.iter().zip(worlds) {
            let grid = match world.sample(samples, options.seed) {
                Ok(samples) => DictionaryGrid::fit(&samples.x(), &member)?,
                Err(Error::Interrupted { .. }) => {
                    diagram.interrupted = true;
                    break;
                }
                Err(error) => return Err(error),
            };
            if grid.history().interrupted {
                diagram.interrupted = true;
                break;
            }
            let found = grid.dictionaries();
            let found = found.iter().map(|member| mmcs(&truth, &member.atoms()));
            diagram.active.push(number);
            diagram.mmcs.push(found.collect::<Result<_>>()?);
            diagram.names = grid.names();
        }
        if diagram.active.is_empty() {
            return Err(Error::Interrupted { what: "the phase diagram".to_owned() });
        }
        if !diagram.interrupted {
            return Ok(diagram);
        }
        let access = "`stopped::<PhaseDiagram>()?` gives what was done.";
        options.on_stop.end("the phase diagram", diagram, access)
    }

    /// Mean numbers of active features, a row each.
    pub fn active(&self) -> Vec<f64> {
        self.active.clone()
    }

    /// Names of the dictionaries, a column each.
    pub fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    /// [`mmcs`] of the truth, `[numbers of active features, dictionaries]`, f64.
    ///
    /// # Errors
    /// Memory.
    pub fn mmcs(&self) -> Result<Tensor> {
        let shape = (self.active.len(), self.names.len());
        Ok(Tensor::from_vec(self.mmcs.concat(), shape, &Device::Cpu)?)
    }

    /// The curve of every dictionary over the numbers of active features, for a line plot.
    pub fn curves(&self) -> Vec<(String, Vec<f64>)> {
        let curve = |(i, name): (usize, &String)| {
            (name.clone(), self.mmcs.iter().map(|row| row[i]).collect())
        };
        self.names.iter().enumerate().map(curve).collect()
    }
}

show_as_text!(PhaseDiagram);

impl fmt::Display for PhaseDiagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "MMCS with the truth: {}", self.names.join(" | "))?;
        for (active, row) in self.active.iter().zip(&self.mmcs) {
            let row: Vec<String> = row.iter().map(|value| format!("{value:.3}")).collect();
            writeln!(f, "{active:>6} active: {}", row.join(" | "))?;
        }
        f.write_str(if self.interrupted { "stopped early" } else { "" })
    }
}
