//! Tensors as the value of a cell: candle's types, with a method that comes before their `Debug` form.

use candle_core::{Tensor, Var};

use super::cell::Opened;
use crate::TensorExt as _;
use crate::display::MimeBundle;

impl<'a> Opened<'a, Tensor> {
    /// Shows the tensor's [`TensorSummary`](crate::TensorSummary) as the value of the cell.
    pub fn shown(self, _show: impl FnOnce(&'a Tensor)) {
        if let Some(tensor) = self.value() {
            MimeBundle::text(tensor.describe().to_string()).show_as_result();
        }
    }
}

impl<'a> Opened<'a, Var> {
    /// Shows the variable's [`TensorSummary`](crate::TensorSummary) as the value of the cell.
    pub fn shown(self, _show: impl FnOnce(&'a Var)) {
        if let Some(variable) = self.value() {
            MimeBundle::text(variable.as_tensor().describe().to_string()).show_as_result();
        }
    }
}
