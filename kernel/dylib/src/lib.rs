//! The library as notebooks link it: everything of [`eigenlens`], in one shared object.

pub use eigenlens::*;
