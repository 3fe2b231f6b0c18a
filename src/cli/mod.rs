//! The kubectl plugin: `kubectl scoped-secrets VERB`.
//!
//! [`command`] is the shell: flags, files, printing, the exit code. Each verb's work is a module of its own: what it observes
//! (through [`cluster`], with the reader's own permissions) are plain values, and what it makes of them is pure.
//!
//! ```text
//!   simulate: files ────────────► Report ─┐
//!   check:    Installed ──judge─► Report ─┤
//!   audit:    Sighted ────judge─► Report ─┼─► text, json, sarif; 0 clean, 1 findings, 2 error
//!   why:      Observed ─authorize► Answer ┤
//!   trace:    Chain ────────────► Trace  ─┘
//!   refresh, rotate, grant, approve, revoke: Sight ► Plan ─► shown, asked, written, waited for (change)
//!   init:     Found ──carry──► YAML with comments, Report
//!   verify-log: lines ──────────► Report
//! ```

pub mod approve;
pub mod audit;
pub mod change;
pub mod check;
pub mod cluster;
pub mod command;
pub mod completion;
mod files;
pub mod grant;
pub mod init;
pub mod installation;
mod kustomization;
pub mod lent;
mod names;
pub mod observed;
pub mod refresh;
pub mod remote;
pub mod report;
pub mod revoke;
pub mod rotate;
pub mod simulate;
pub mod trace;
pub mod verify_log;
pub mod why;
