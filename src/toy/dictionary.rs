//! A trained dictionary, and what keeps its codes sparse.

use std::fmt;

use candle_core::Tensor;

use crate::check::check_not_negative;
use crate::display::show_as_text;
use crate::sae::{Codes, Objective, Sae};
use crate::{Error, Result};

/// What keeps a dictionary's codes sparse.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sparsity {
    /// The loss has `λ Σᵢ cᵢ` added to `‖x − x̂‖²`, both averaged over samples. At λ = 0 it is a plain
    /// autoencoder: nothing asks for sparse codes.
    ///
    /// Code that averages the squared error over the m dimensions as well needs λ/m for the same.
    L1(f64),
    /// Each sample keeps its k largest codes: [`Objective::TopK`].
    TopK(usize),
    /// A batch of B samples keeps its k·B largest codes. Where there is no batch, a code is kept
    /// above the running mean of the smallest that training kept (Bussmann, Leask and Nanda, 2024):
    /// [`Objective::BatchTopK`].
    BatchTopK(usize),
}

impl Sparsity {
    pub(super) fn check(self, size: usize) -> Result<()> {
        match self {
            Self::L1(penalty) => check_not_negative("the L1 penalty", penalty),
            Self::TopK(k) | Self::BatchTopK(k) if k == 0 || k > size => {
                let expected = format!("from 1 to {size}, the atoms of the dictionary");
                Err(Error::invalid("k", expected, k))
            }
            _ => Ok(()),
        }
    }

    /// What training makes small, and how many atoms a code keeps, of those that count them.
    pub(super) fn objective(self) -> (Objective, usize) {
        match self {
            Self::L1(l1) => (Objective::Standard { l1 }, 1),
            Self::TopK(k) => (Objective::TopK, k),
            Self::BatchTopK(k) => (Objective::BatchTopK, k),
        }
    }
}

impl fmt::Display for Sparsity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::L1(penalty) => write!(f, "λ = {penalty}"),
            Self::TopK(k) => write!(f, "top {k}"),
            Self::BatchTopK(k) => write!(f, "batch top {k}"),
        }
    }
}

/// One autoencoder of a [`DictionaryGrid`](super::DictionaryGrid): `c = act(E x + e)`,
/// `x̂ = Σ cᵢ dᵢ` with atoms dᵢ of length 1. A cheap handle.
#[derive(Debug, Clone)]
pub struct Dictionary {
    sparsity: Sparsity,
    tied: bool,
    sae: Sae,
    atoms: Tensor,
}

impl Dictionary {
    /// From what was trained.
    pub(super) fn new(sparsity: Sparsity, tied: bool, sae: Sae) -> Result<Self> {
        let atoms = sae.w_dec().t()?.contiguous()?;
        Ok(Self { sparsity, tied, sae, atoms })
    }

    /// What keeps its codes sparse.
    pub fn sparsity(&self) -> Sparsity {
        self.sparsity
    }

    /// The number of atoms.
    pub fn size(&self) -> usize {
        self.sae.features()
    }

    /// The atoms, rows of length 1, `[size, dims]`.
    pub fn atoms(&self) -> Tensor {
        self.atoms.clone()
    }

    /// The same as an autoencoder of the `sae` module, which can be saved.
    pub fn sae(&self) -> Sae {
        self.sae.clone()
    }

    /// The codes of samples `[n, dims]`.
    ///
    /// # Errors
    /// Samples of another width, or with NaN.
    pub fn encode(&self, x: &Tensor) -> Result<Codes> {
        self.sae.encode(x)
    }

    /// The sums that codes stand for, `[n, dims]`.
    ///
    /// # Errors
    /// Codes of another number of atoms.
    pub fn decode(&self, codes: &Codes) -> Result<Tensor> {
        self.sae.decode(codes)
    }
}

show_as_text!(Dictionary);

impl fmt::Display for Dictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.tied { "tied" } else { "untied" };
        write!(f, "dictionary of {} atoms, {}, {kind}", self.size(), self.sparsity)
    }
}
