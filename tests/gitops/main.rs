//! What GitOps tools make of us, by the libraries that they use themselves (`judge/`): Flux, Helm and Argo CD on a cluster, and their
//! files and ours in Git.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod argocd;
mod gates;
mod judge;
mod live;
mod order;
mod schemas;
#[path = "../../deploy/argocd/generate/situations.rs"]
mod situations;
mod status;
#[path = "../support/mod.rs"]
mod support;
mod written;
