//! The kubectl plugin `kubectl scoped-secrets`: gives the library its arguments, clock and streams; nothing else.
#![forbid(unsafe_code)]

use scoped_secrets::cli::command::{self, Surroundings};
use scoped_secrets::cli::report::text::Colours;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

fn main() -> ExitCode {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = Colours(io::stdout().is_terminal() && !no_color);
    let terminal = io::stdin().is_terminal();
    let around = Surroundings { clock: &jiff::Timestamp::now, colours, terminal };
    let (mut stdin, mut out, mut err) = (io::stdin().lock(), io::stdout().lock(), io::stderr().lock());
    command::run(std::env::args_os(), &around, &mut stdin, &mut out, &mut err).into()
}
