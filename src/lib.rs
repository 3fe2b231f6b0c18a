//! Scoped Secrets: a Kubernetes operator that enforces per-namespace secret segmentation.
#![forbid(unsafe_code)]

pub mod api;
pub mod controller;
pub mod projection;
pub mod provider;
pub mod segmentation;
