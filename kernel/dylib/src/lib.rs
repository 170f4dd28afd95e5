//! The library as notebooks link it: everything of [`eigenlens`], in one shared object, and what
//! connects the process that loads it to the kernel.

mod session;

pub use eigenlens::*;
#[doc(inline)]
pub use eigenlens_app as app;
