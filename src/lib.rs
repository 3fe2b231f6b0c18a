//! Scoped Secrets: a Kubernetes operator that enforces per-namespace secret segmentation.
//!
//! ```text
//!     policies, namespaces, stores, claims, seals            (watched; plain values)
//!                          │
//!     segmentation::authorize(claim, world, now) -> Verdict  (pure: no clock, no I/O)
//!        ┌─────────────────┼──────────────────┐
//!    admission         controller            cli            (doors: all ask the same question)
//!        │                 │ plan (pure) ─► act
//!        │                 ├── provider      secrets managers; know nothing of Kubernetes
//!        │                 ├── rotation      when a key is rotated, and what is next then (pure)
//!        │                 └── projection    remote values -> the content of one Secret (pure)
//!        └── answers from the controller's index, in memory
//! ```
//!
//! Arrows point one way: [`api`] ← [`segmentation`] ← [`controller`], [`admission`] and the plugin ([`cli`]).
#![forbid(unsafe_code)]

pub mod admission;
pub mod api;
pub mod cli;
pub mod client;
pub mod controller;
pub mod digest;
pub mod leader;
pub mod operator;
pub mod projection;
pub mod provider;
pub mod rotation;
pub mod segmentation;
pub mod telemetry;
pub mod yaml;
