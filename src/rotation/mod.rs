//! Rotation: each claim on its own schedule. Pure: schedules, slots, and the machine that says what is next.
//!
//! ```text
//!   schedule (cron, zone) ──┐
//!   rotate-at ──────────────┼──► Trigger ──► slot ──► ClientRequestToken ──► one version in the manager
//!   rollout, role, grant ───┘
//! ```
//!
//! A [slot](slot) is rotated once, however often the operator is killed: the version that its token names is the proof.

pub mod slot;
pub mod triggers;
