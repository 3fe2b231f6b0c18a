//! Bad input: in each case the user reads on the condition what is wrong and what to do, nothing is half-written, and no
//! value is shown anywhere.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod crd;
mod keys;
mod policies;
mod projection;
mod remote;
mod seals;
mod stores;
#[path = "../support/mod.rs"]
mod support;
mod targets;

use support::bed;
