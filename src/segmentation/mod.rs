//! The pure core: who may hold which secret. It knows nothing of I/O, clocks or randomness; those are arguments.
//!
//! [`world::World`] is what was observed; [`authorize::authorize`] is the one question, asked at every door.

pub mod access;
pub mod alike;
pub mod authorize;
pub mod change;
pub mod consumers;
pub mod copies;
pub mod few;
pub mod fingerprint;
pub mod followed;
pub mod foreign;
pub mod governed;
pub mod guarantees;
pub mod key;
pub mod managed;
pub mod max_age;
pub mod namesakes;
pub mod pattern;
pub mod policy;
pub mod references;
pub mod replication;
pub mod restart;
pub mod revoked;
pub mod rotated;
pub mod seal;
pub mod second;
pub mod segment;
pub mod verdict;
pub mod violation;
pub mod volumes;
pub mod workload;
pub mod world;

#[cfg(test)]
mod authorize_tests;
#[cfg(test)]
pub(crate) mod filled;
#[cfg(test)]
pub(crate) mod fixtures;
