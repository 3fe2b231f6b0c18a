//! Runs a program that must end.

use std::io::{Read, Write};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Its output, with this on its stdin.
///
/// # Panics
/// When it cannot be started, or has not ended within this time (it is then killed).
#[track_caller]
pub fn output_within(deadline: Duration, command: &mut Command, stdin: &str) -> Output {
    let mut child = command
        .stdin(if stdin.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (read(child.stdout.take()), read(child.stderr.take()));
    if let Some(mut pipe) = child.stdin.take() {
        let text = stdin.as_bytes().to_vec();
        // An early exit shows in its output; the broken pipe says less.
        thread::spawn(move || pipe.write_all(&text));
    }
    let started = Instant::now();
    let status: ExitStatus = loop {
        match child.try_wait().expect("it is our child") {
            Some(status) => break status,
            None if started.elapsed() > deadline => {
                let _ = child.kill();
                let said = stderr.join().unwrap_or_default();
                panic!("{command:?} has not ended within {deadline:?}: {}", String::from_utf8_lossy(&said));
            }
            None => thread::sleep(Duration::from_millis(2)),
        }
    };
    Output { status, stdout: stdout.join().unwrap_or_default(), stderr: stderr.join().unwrap_or_default() }
}

fn read(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut read = Vec::new();
        let _ = pipe.expect("piped").read_to_end(&mut read);
        read
    })
}
