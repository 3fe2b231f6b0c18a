//! Scoped Secrets: a Kubernetes operator that enforces per-namespace secret segmentation.
#![forbid(unsafe_code)]

pub mod api;
pub mod cli;
pub mod projection;
pub mod provider;
pub mod segmentation;
