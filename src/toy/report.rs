//! The grid in numbers.

use std::fmt;

use candle_core::{Device, Tensor};

use super::grid::DictionaryGrid;
use super::metrics::{Quality, mmcs};
use crate::Result;
use crate::display::{ShownColumn, ShownTable};

/// How every member of a [`DictionaryGrid`] does: matrices of a row a sparsity and a column a size.
#[derive(Debug, Clone)]
pub struct GridReport {
    rows: Vec<String>,
    columns: Vec<String>,
    qualities: Vec<Quality>,
    mmcs: Vec<f64>,
    /// Of all but the largest size.
    larger: Vec<f64>,
    sizes: Vec<usize>,
}

impl DictionaryGrid {
    /// How every member does on samples `x` `[n, dims]` whose features are `truth` `[n, dims]`.
    ///
    /// # Errors
    /// Samples or features of another width, none, or with NaN.
    pub fn report(&self, x: &Tensor, truth: &Tensor) -> Result<GridReport> {
        let options = self.options();
        let members = self.dictionaries();
        let qualities = members.iter().map(|m| m.quality(x)).collect::<Result<_>>()?;
        let found = members.iter().map(|m| mmcs(truth, &m.atoms())).collect::<Result<_>>()?;
        let mut larger = Vec::new();
        let width = options.sizes.len();
        for row in members.chunks(width) {
            for small in row {
                let others = row.iter().filter(|other| other.size() > small.size());
                let shared = others.map(|other| mmcs(&small.atoms(), &other.atoms()));
                let shared = shared.collect::<Result<Vec<f64>>>()?;
                larger.push(shared.iter().sum::<f64>() / shared.len() as f64);
            }
        }
        Ok(GridReport {
            rows: options.sparsities.iter().map(|sparsity| sparsity.to_string()).collect(),
            columns: options.sizes.iter().map(|size| size.to_string()).collect(),
            qualities,
            mmcs: found,
            larger,
            sizes: options.sizes,
        })
    }
}

impl GridReport {
    /// Names of the rows: the sparsities.
    pub fn rows(&self) -> Vec<String> {
        self.rows.clone()
    }

    /// Names of the columns: the sizes.
    pub fn columns(&self) -> Vec<String> {
        self.columns.clone()
    }

    /// Mean squared error over samples and dimensions, `[sparsities, sizes]`, f64.
    ///
    /// # Errors
    /// Memory.
    pub fn error(&self) -> Result<Tensor> {
        self.matrix(|quality| quality.error)
    }

    /// The error's share of `‖x‖²`, `[sparsities, sizes]`, f64.
    ///
    /// # Errors
    /// Memory.
    pub fn unexplained(&self) -> Result<Tensor> {
        self.matrix(|quality| quality.unexplained)
    }

    /// Mean number of active atoms in a sample, `[sparsities, sizes]`, f64.
    ///
    /// # Errors
    /// Memory.
    pub fn active(&self) -> Result<Tensor> {
        self.matrix(|quality| quality.active)
    }

    /// Atoms that no sample activates, `[sparsities, sizes]`, f64.
    ///
    /// # Errors
    /// Memory.
    pub fn dead(&self) -> Result<Tensor> {
        self.matrix(|quality| quality.dead as f64)
    }

    /// [`mmcs`] of the truth, `[sparsities, sizes]`, f64.
    ///
    /// # Errors
    /// Memory.
    pub fn mmcs(&self) -> Result<Tensor> {
        self.tensor(self.mmcs.clone())
    }

    /// [`mmcs`] of each dictionary in the larger ones of its row, averaged over those,
    /// `[sparsities, sizes]`, f64; NaN in the column of the largest size, which has none.
    ///
    /// # Errors
    /// Memory.
    pub fn larger(&self) -> Result<Tensor> {
        self.tensor(self.larger.clone())
    }

    /// Row and column of the member that has found most of the truth.
    pub fn best(&self) -> (usize, usize) {
        let order = (0..self.mmcs.len()).max_by(|&i, &j| self.mmcs[i].total_cmp(&self.mmcs[j]));
        let best = order.unwrap_or(0);
        (best / self.sizes.len(), best % self.sizes.len())
    }

    /// The study's four matrices by name, for `plot_heat_maps`.
    ///
    /// # Errors
    /// Memory.
    pub fn heat_maps(&self) -> Result<Vec<(String, Tensor)>> {
        Ok(vec![
            ("reconstruction error".to_owned(), self.error()?),
            ("MMCS with the truth".to_owned(), self.mmcs()?),
            ("average MMCS with larger dictionaries".to_owned(), self.larger()?),
            ("dead neurons".to_owned(), self.dead()?),
        ])
    }

    fn matrix(&self, pick: fn(&Quality) -> f64) -> Result<Tensor> {
        self.tensor(self.qualities.iter().map(pick).collect())
    }

    fn tensor(&self, values: Vec<f64>) -> Result<Tensor> {
        Ok(Tensor::from_vec(values, (self.rows.len(), self.columns.len()), &Device::Cpu)?)
    }

    fn cells(&self) -> Vec<[String; 7]> {
        let columns = self.columns.len();
        let quality = |(i, quality): (usize, &Quality)| {
            let larger = match self.larger[i] {
                value if value.is_nan() => "–".to_owned(),
                value => format!("{value:.3}"),
            };
            [
                self.rows[i / columns].clone(),
                self.columns[i % columns].clone(),
                format!("{:.2e}", quality.error),
                format!("{:.2}", quality.active),
                format!("{:.3}", self.mmcs[i]),
                larger,
                quality.dead.to_string(),
            ]
        };
        self.qualities.iter().enumerate().map(quality).collect()
    }

    fn shown(&self) -> ShownTable {
        let mut shown = ShownTable::new(HEAD.map(ShownColumn::right));
        self.cells().into_iter().for_each(|cells| shown.push(cells));
        shown
    }

    /// Shows the numbers as a table: what a notebook cell ending in it does.
    pub fn evcxr_display(&self) {
        let shown = self.shown();
        shown.bundle(shown.text()).show_as_result();
    }
}

const HEAD: [&str; 7] = ["sparsity", "atoms", "error", "active", "MMCS", "larger", "dead"];

impl fmt::Display for GridReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown().text())
    }
}
