//! `kubectl scoped-secrets init` on files: what it writes is what the other verbs take.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/migration");

fn plugin(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kubectl-scoped_secrets")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every file below a folder.
fn files(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                let path = entry.path().strip_prefix(folder).unwrap().to_owned();
                found.insert(path, fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    found
}

/// The worked example of docs/migration.md: what stands in `after/` is what `init` writes of `before/`, and
/// what a cluster would take.
#[test]
fn the_worked_example_is_what_init_writes() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    let before = format!("{EXAMPLE}/before");
    let run = plugin(&["init", "--from-external-secrets", "-f", &before, "-o", made.to_str().unwrap()]);
    let said = text(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{said}");
    if std::env::var_os("WRITE_EXAMPLE").is_some() {
        let _ = fs::remove_dir_all(format!("{EXAMPLE}/after"));
        for (path, text) in files(&made) {
            let path = Path::new(EXAMPLE).join("after").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }
    assert_eq!(
        files(&made),
        files(&Path::new(EXAMPLE).join("after")),
        "WRITE_EXAMPLE=1 cargo test --test init writes it"
    );
    for words in [
        "ExternalSecret billing-prod/reporting: [KeyNotAllowed]",
        "ExternalSecret payments-prod/orders-db: [KeyShared] another segment used the key",
        "ExternalSecret billing-prod/everything: [KeyNotExact]",
        "ExternalSecret billing-prod/invoices-api: [NotCarriedOver] data[0]: the property \"tokens.write\" is a path there",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let platform = format!("{before}/platform.yaml");
    let judged = plugin(&["simulate", "--account-id", "123456789012", &platform, made.to_str().unwrap()]);
    assert_eq!(judged.status.code(), Some(0), "{}", text(&judged.stdout));
    // Nothing is overwritten.
    let again = plugin(&["init", "--from-external-secrets", "-f", &before, "-o", made.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("is there already"), "{}", text(&again.stderr));
}

#[test]
fn a_start_is_what_a_cluster_takes() {
    for namespace in [None, Some("web")] {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().to_str().unwrap();
        let arguments = ["init", "-o", made].into_iter().chain(namespace.into_iter().flat_map(|name| ["-n", name]));
        let run = plugin(&arguments.collect::<Vec<_>>());
        assert_eq!((run.status.code(), run.stderr.len()), (Some(0), 0), "{}", text(&run.stderr));
        // A namespace that has a name is in whatever segment it is in: nothing is written over that.
        if namespace.is_some() {
            assert!(!folder.path().join("platform/namespace.yaml").exists());
            let claim = folder.path().join("app/orders-db.yaml");
            let written = std::fs::read_to_string(&claim).unwrap();
            assert!(written.contains("namespace: web") && written.contains("TENANT/ENVIRONMENT/"), "{written}");
            std::fs::write(claim, written.replace("TENANT/ENVIRONMENT/", "web/prod/")).unwrap();
            let live =
                "apiVersion: v1\nkind: Namespace\nmetadata: {name: web, labels: {tenant: web, environment: prod}}\n";
            std::fs::write(folder.path().join("live.yaml"), live).unwrap();
        }
        let judged = plugin(&["simulate", "--strict", "--account-id", "123456789012", made]);
        assert_eq!(text(&judged.stdout), "no findings: 1 ScopedSecret allowed\n");
    }
    let run = plugin(&["init"]);
    assert_eq!(text(&run.stdout).matches("\nkind: ").count(), 4, "to stdout");
}

#[test]
fn what_cannot_be_done_is_an_error() {
    for (arguments, words) in [
        (&["init", "-o", "json"][..], "-o names the folder"),
        (&["init", "--labels", "a"], "--from-external-secrets"),
        (&["init", "--from-external-secrets", "-f", "no/such"], "no/such"),
        (
            &["init", "--from-external-secrets", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/examples/payments")],
            "nothing to carry over",
        ),
        (&["init", "--from-external-secrets", "-f", EXAMPLE, "--account-id", "1"], "twelve digits"),
    ] {
        let run = plugin(arguments);
        assert_eq!(run.status.code(), Some(2), "{arguments:?}: {}", text(&run.stderr));
        assert!(text(&run.stderr).contains(words), "{words}: {}", text(&run.stderr));
    }
}
