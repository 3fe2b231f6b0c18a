//! Rotation: each key on its own schedule. Pure.

pub mod generate;
