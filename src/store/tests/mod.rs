//! Files to read, made on the spot.

pub(crate) mod sample;
