//! Stores of a small model.
