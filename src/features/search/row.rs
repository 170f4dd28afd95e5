//! What a ranking says of each cloud, and of those that it leaves out.

use crate::features::cloud::CloudPlane;

/// A cloud in a ranking.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchRow {
    /// Which of the clouds it is.
    pub cloud: usize,
    /// The cloud's name.
    pub name: String,
    /// Number of points.
    pub points: usize,
    /// Its plane of the largest score. Of a cloud that was not refined, the mixture index is no more
    /// than bounded.
    pub plane: CloudPlane,
    /// `(1 − M) S` of its best plane, in bits, is at most this.
    pub score: f64,
    /// And at least this.
    pub score_at_least: f64,
    /// Whether the best band was searched for in all points.
    pub refined: bool,
    /// The mean of S, in bits, if one coordinate of the plane is put in a random order: what so many
    /// points share by chance.
    pub null: Option<f64>,
    /// The share of random orders with an S as large as that of the plane.
    pub null_share: Option<f64>,
}

/// What a ranking leaves out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeftOut {
    /// Clouds that were not looked at when the time was up.
    pub not_seen: usize,
    /// Clouds with too few points or features for a plane.
    pub too_few: usize,
    /// Clouds that were looked at and not refined.
    pub not_refined: usize,
    /// No cloud that was not refined has a larger score than this, in bits; those of too few points
    /// are not meant.
    pub score_at_most: f64,
}
