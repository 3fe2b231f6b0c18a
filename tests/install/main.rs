//! The chart and the manifests: what they render, and a release's life in a real cluster, by the real helm.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod account;
mod demo;
mod helm;
mod image;
mod manifests;
mod monitoring;
mod namespaces;
mod permissions;
mod promql;
mod release;
mod rendered;
mod settings;
#[path = "../support/mod.rs"]
mod support;
