//! Which of a seed's streams of random numbers is whose: no two users of one seed may share numbers,
//! or a "random" dictionary would be the truth.

/// Directions of a world.
pub(super) const DIRECTIONS: u64 = 1 << 60;
/// Correlation of a world.
pub(super) const CORRELATION: u64 = DIRECTIONS + 1;
/// First atoms of dictionaries, plus their number.
pub(super) const ATOMS: u64 = 2 << 60;
/// Order of the samples in training.
pub(super) const SHUFFLE: u64 = 3 << 60;
/// Dictionaries that are not trained.
pub(super) const RANDOM: u64 = 4 << 60;
/// First directions of independent components.
pub(super) const COMPONENTS: u64 = 5 << 60;
// Samples have the streams from 0.
