//! What the library eigenlens and its Jupyter kernel agree on, so that neither links the other: the
//! messages that a running cell sends to the kernel, the folder that holds what both fetch and
//! build, and how files are written.

pub mod files;
pub mod home;
pub mod message;
