//! Which clusters have an irreducible plane: a ranking that knows what it has not looked at.

mod candidate;
mod options;
mod ranking;
mod row;
mod table;

pub use options::SearchOptions;
pub use ranking::Search;
pub use row::{LeftOut, SearchRow};
