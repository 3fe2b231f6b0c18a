//! What the stories stand on: a cluster, an AWS, and a way to wait. A story says `mod support;`.
//!
//! Everything that is started ends with the test process, however that ends: each child watches its
//! stdin, which the kernel closes for us.
#![allow(dead_code, reason = "each story uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken test bed ends the test")]

pub mod bed;
pub mod canary;
pub mod cluster;
pub mod cluster_audit;
mod deadline;
pub mod emulator;
pub mod events;
pub mod foreign_kind;
pub mod foreign_policy;
pub mod inside;
pub mod operator;
pub mod oracle;
pub mod otlp;
pub mod permissions;
mod reader;
pub mod relay;
pub mod service;
pub mod stub_manager;
pub mod tenants;
pub mod wait;
pub mod webhook;
