//! Scoped Secrets: a Kubernetes operator that enforces per-namespace secret segmentation.
#![forbid(unsafe_code)]

pub mod admission;
pub mod api;
pub mod leader;
pub mod projection;
pub mod provider;
pub mod segmentation;
pub mod telemetry;
