//! A program that serves one test process: it says in a line of JSON that it is ready, answers lines
//! with lines, and ends when its stdin does.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The repository's `tests/cluster`, where the programs come from.
pub fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster")
}

/// The folder that holds `tool`, which is built first if it never was. Its progress shows on stderr.
pub fn ensure(tool: &str) -> PathBuf {
    let built = Command::new(programs().join("tools"))
        .args(["ensure", tool])
        .stderr(Stdio::inherit())
        .output()
        .expect("tests/cluster/tools needs bash");
    assert!(built.status.success(), "tests/cluster/tools ensure {tool}: {}; the reason is above", built.status);
    PathBuf::from(String::from_utf8(built.stdout).expect("a path in UTF-8").trim_end())
}

pub struct Service {
    name: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Service {
    /// Starts it and waits for its first line.
    pub fn start(name: &'static str, command: &mut Command) -> (Self, Value) {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("its stdout is piped"));
        let mut service = Self { name, child, stdin, stdout };
        let ready = service.line();
        (service, ready)
    }

    /// Sends a line and returns the answer.
    pub fn ask(&mut self, line: &str) -> Value {
        let stdin = self.stdin.as_mut().expect("open until dropped");
        writeln!(stdin, "{line}").unwrap_or_else(|error| panic!("{} does not listen: {error}", self.name));
        self.line()
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("text");
        serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("{} said {line:?} instead of a line of JSON; the reason is above", self.name))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let asked = Instant::now();
        while let Ok(None) = self.child.try_wait() {
            if asked.elapsed() > Duration::from_secs(20) {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
