//! The kubectl plugin `kubectl scoped-secrets`: gives the library its arguments, clock and streams; nothing else.
#![forbid(unsafe_code)]

use scoped_secrets::cli::command;
use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    let (mut stdin, mut out, mut err) = (io::stdin().lock(), io::stdout().lock(), io::stderr().lock());
    command::run(std::env::args_os(), jiff::Timestamp::now(), &mut stdin, &mut out, &mut err).into()
}
