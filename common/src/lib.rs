//! What the library eigenlens and its Jupyter kernel agree on, so that neither links the other: the
//! messages that a running cell sends to the kernel, and the folder that holds what both fetch and
//! build.

pub mod home;
pub mod message;
