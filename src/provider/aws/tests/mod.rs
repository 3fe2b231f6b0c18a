//! The protocol.

mod identities;
mod logs;
mod server;
mod values;
