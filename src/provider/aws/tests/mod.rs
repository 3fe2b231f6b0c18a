//! The protocol, against a server that the tests script: `tests/provider_protocol.rs` asks an emulator.

mod identities;
mod logs;
mod server;
mod values;
mod writes;
