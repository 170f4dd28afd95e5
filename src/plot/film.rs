//! What moves in a figure.

use super::space::SpacePoint;

/// Pixels below the panels for the slider and the buttons.
pub(super) const FOOT: f64 = 84.0;

/// What moves in a figure.
#[derive(Debug, Clone)]
pub(crate) struct Film {
    /// What the frames are counted in: "epoch".
    pub(crate) unit: String,
    /// One a frame.
    pub(crate) labels: Vec<String>,
    /// For each frame the places of every mark that moves.
    pub(crate) frames: Vec<Vec<Vec<SpacePoint>>>,
}
