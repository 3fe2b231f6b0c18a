//! Rotation: each claim on its own schedule. Pure: schedules, slots, and the machine that says what is next.

pub mod restart;
