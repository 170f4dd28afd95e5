//! How a text is looked at.

use std::path::PathBuf;

use candle_core::DType;

use crate::check::check_sizes;
use crate::sae_error::window::Window;
use crate::{Error, Result};

/// Where the activations of an [`SaeInfo`](super::SaeInfo) are kept, which are needed again whenever
/// its error is taken apart.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum KeepActivations {
    /// In memory, `4 d` bytes a token and hook point, shared by all autoencoders there; the default.
    #[default]
    Memory,
    /// In files of a folder, of the floating point type `dtype`.
    Disk {
        /// The folder.
        folder: PathBuf,
        /// F32, F16 or BF16.
        dtype: DType,
    },
    /// Nowhere: the model makes them again each time.
    Nothing,
}

/// How [`SaeInfo::collect`](super::SaeInfo::collect) looks at a text.
#[derive(Debug, Clone, PartialEq)]
pub struct InfoOptions {
    /// The positions of each context that count; none: [`Window::scaled`] to their length.
    pub window: Option<Window>,
    /// Contexts that go through the model at a time; 8.
    pub batch: usize,
    /// Parts of the text, each of which is judged by a map that was fitted on the others; 5.
    pub folds: usize,
    /// Where activations are kept; in memory.
    pub keep: KeepActivations,
    /// Tokens that are no text, such as `<bos>`; none.
    pub skip_tokens: Vec<u32>,
    /// Decides which context is in which fold, and the draws of intervals; 0.
    pub seed: u64,
    /// A folder for what was found so far, from which a call that was cut off goes on; none.
    pub checkpoint: Option<PathBuf>,
}

impl Default for InfoOptions {
    fn default() -> Self {
        Self {
            window: None,
            batch: 8,
            folds: 5,
            keep: KeepActivations::default(),
            skip_tokens: Vec::new(),
            seed: 0,
            checkpoint: None,
        }
    }
}

impl InfoOptions {
    /// Fails for options that cannot be.
    pub(super) fn check(&self) -> Result<()> {
        check_sizes(&[("`batch`", self.batch)])?;
        if self.folds < 2 {
            let expected = "at least 2: what is judged is never what was fitted on";
            return Err(Error::invalid("`folds`", expected, self.folds));
        }
        match &self.keep {
            KeepActivations::Disk { dtype, .. }
                if ![DType::F32, DType::F16, DType::BF16].contains(dtype) =>
            {
                let expected = "F32, F16 or BF16";
                Err(Error::invalid("`dtype` of the activations", expected, dtype.as_str()))
            }
            _ => Ok(()),
        }
    }
}
