//! bilinear
