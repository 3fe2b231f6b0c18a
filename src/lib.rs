//! Scoped Secrets: a Kubernetes operator that enforces per-namespace secret segmentation.
pub mod provider;
