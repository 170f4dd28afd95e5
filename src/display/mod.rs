//! What is shown while code runs: a bundle of MIME types, in a cell or as text in a program.
//!
//! Under the eigenlens kernel everything goes through one line protocol on standard output
//! ([`mod@message`]), so that prints and displays keep their order. Under the stock `evcxr_jupyter`
//! displays fall back to its protocol; in an ordinary program they become text.

mod bundle;
mod channel;
mod table;

pub use eigenlens_common::message;

pub use bundle::{DebugDisplay, DisplayHandle, MimeBundle, clear_output};
pub use channel::send;
pub(crate) use channel::{Host, host};
pub(crate) use table::{ShownCell, ShownColumn, ShownTable, rows_to_show};

/// Lets values of types that have a `Display` form end a cell: the cell shows that text. The method is
/// inherent, because evcxr finds it without an import.
macro_rules! show_as_text {
    ($($type:ty),+ $(,)?) => {$(
        impl $type {
            /// Shows its text as the value of a cell.
            pub fn evcxr_display(&self) {
                $crate::display::MimeBundle::text(self.to_string()).show_as_result();
            }
        }
    )+};
}
pub(crate) use show_as_text;
