//! `make demo`, with each of its secrets managers, to its end.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::process::Command;

fn comes_true(store: &str) {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/demo.sh");
    let run = Command::new(demo).env("STORE", store).env_remove("KUBECONFIG").env_remove("KEEP").output().unwrap();
    let (told, said) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success() && told.contains("All of it came true"), "{told}\n{said}");
}

#[test]
fn it_comes_true_with_the_emulator_of_aws_and_with_a_directory() {
    comes_true("aws");
    comes_true("file");
}
