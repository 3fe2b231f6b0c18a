use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use super::*;
use crate::provider::MAX_VALUE_BYTES;

/// A directory with `root` in it, which has `plain`, `db.json`, `both`, `both.json`, `bin` and more.
fn disk() -> tempfile::TempDir {
    let disk = tempfile::tempdir().unwrap();
    let root = disk.path().join("root");
    fs::create_dir_all(root.join("team/prod")).unwrap();
    for (path, content) in [
        ("root/team/prod/db.json", &br#"{"password":"hunter2"}"#[..]),
        ("root/team/prod/plain", b"plain text\n"),
        ("root/team/prod/both", b"one"),
        ("root/team/prod/both.json", b"two"),
        ("root/team/prod.json", b"beside a directory of its name"),
        ("root/bin", &[0xff, 0xfe]),
        ("outside", b"not yours"),
    ] {
        fs::write(disk.path().join(path), content).unwrap();
    }
    fs::write(root.join("limit"), vec![b'x'; MAX_VALUE_BYTES]).unwrap();
    fs::write(root.join("large"), vec![b'x'; MAX_VALUE_BYTES + 1]).unwrap();
    // As a mounted ConfigMap does it.
    fs::create_dir(root.join("..2026_01_01")).unwrap();
    fs::write(root.join("..2026_01_01/mounted"), "inside").unwrap();
    symlink("..2026_01_01", root.join("..data")).unwrap();
    symlink("..data/mounted", root.join("mounted")).unwrap();
    symlink("../outside", root.join("stolen")).unwrap();
    symlink(disk.path(), root.join("up")).unwrap();
    symlink("/proc/self/environ", root.join("environment")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    disk
}

fn store(disk: &tempfile::TempDir) -> FileStore {
    FileStore::open(&disk.path().join("root"), |bytes| format!("digest-{}", bytes.len())).unwrap()
}

#[tokio::test]
async fn keys_are_files() {
    let disk = disk();
    let store = store(&disk);
    for (key, text) in [
        ("team/prod/db", r#"{"password":"hunter2"}"#),
        ("team/prod/plain", "plain text\n"),
        ("team/prod", "beside a directory of its name"),
        ("mounted", "inside"),
    ] {
        let answer = store.fetch(Ask::current(key)).await.unwrap();
        assert_eq!(answer.value.expose_text(), Some(text));
        assert_eq!(answer.id, format!("file:{}/root/{key}", disk.path().display()));
        assert_eq!(answer.name, key);
        assert_eq!(answer.version_id, format!("digest-{}", text.len()));
    }
    let binary = store.fetch(Ask::current("bin")).await.unwrap();
    assert!(matches!(&binary.value, RemoteValue::Binary(bytes) if bytes.expose() == [0xff, 0xfe]));
    assert!(store.fetch(Ask::current("limit")).await.is_ok());
}

#[tokio::test]
async fn what_is_not_a_file_of_the_store_is_refused() {
    let disk = disk();
    let store = store(&disk);
    for (key, reason) in [
        ("nothing", "RemoteMissing"),
        ("team", "RemoteMissing"),
        ("team/prod/plain/deeper", "RemoteMissing"),
        ("dangling", "ProviderUnavailable"),
        ("team/prod/both", "RemoteInvalid"),
        ("large", "RemoteTooLarge"),
        ("stolen", "PathForbidden"),
        ("up/outside", "PathForbidden"),
        ("environment", "PathForbidden"),
        ("../outside", "RemoteInvalid"),
        ("team/../../outside", "RemoteInvalid"),
        ("..data/mounted", "RemoteInvalid"),
        ("/etc/passwd", "RemoteInvalid"),
        ("team//prod", "RemoteInvalid"),
        ("./team/prod/db", "RemoteInvalid"),
        ("team/prod/db.json", "RemoteInvalid"),
        ("team/", "RemoteInvalid"),
        ("", "RemoteInvalid"),
        ("a\0b", "RemoteInvalid"),
    ] {
        let error = store.fetch(Ask::current(key)).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{key:?}: {error}");
    }
}

#[tokio::test]
async fn a_pipe_is_refused_at_once() {
    let disk = disk();
    let pipe = disk.path().join("root/pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(store(&disk).fetch(Ask::current("pipe")).await.unwrap_err(), FetchError::NotAFile);
}

#[tokio::test]
async fn only_the_current_version_is_kept() {
    let ask = Ask { id: "team/prod/db".to_owned(), version: VersionRef::Stage("AWSPREVIOUS".to_owned()) };
    assert_eq!(store(&disk()).fetch(ask).await.unwrap_err().reason(), "RemoteVersionMissing");
}

#[tokio::test]
async fn roots_that_hold_tokens_or_the_systems_files_are_refused() {
    let disk = disk();
    let link = disk.path().join("link");
    symlink("/proc/self", &link).unwrap();
    for (root, reason) in [
        ("/proc", "PathForbidden"),
        ("/proc/self/fd", "PathForbidden"),
        ("/sys", "PathForbidden"),
        ("/dev/shm", "PathForbidden"),
        ("/var/run/secrets", "PathForbidden"),
        ("/var/run/secrets/kubernetes.io/serviceaccount", "PathForbidden"),
        ("/run/secrets/", "PathForbidden"),
        (link.to_str().unwrap(), "PathForbidden"),
        ("relative", "RemoteInvalid"),
        ("/etc/../proc", "RemoteInvalid"),
        ("/no/such/directory", "ProviderUnavailable"),
    ] {
        let error = FileStore::open(Path::new(root), |_| String::new()).err().map(|error| error.reason());
        assert_eq!(error, Some(reason), "{root}");
    }
    // Above a forbidden place, the place stays forbidden.
    let everything = FileStore::open(Path::new("/"), |_| String::new()).unwrap();
    let error = everything.fetch(Ask::current("proc/self/environ")).await.unwrap_err();
    assert_eq!(error.reason(), "PathForbidden");
}

#[tokio::test]
async fn a_root_has_one_name() {
    let disk = disk();
    let link = disk.path().join("link");
    symlink(disk.path().join("root"), &link).unwrap();
    for root in [link.clone(), link.join("..data")] {
        let error = FileStore::open(&root, |_| String::new()).err().map(|error| error.reason());
        assert_eq!(error, Some("PathForbidden"), "{}", root.display());
    }
}

#[tokio::test]
async fn a_directory_is_only_read() {
    let disk = disk();
    let store = FileStore::open(&disk.path().join("root"), |_| String::new()).unwrap();
    let (key, token) = ("team/prod/db".to_owned(), "token".to_owned());
    assert_eq!(store.describe(key.clone()).await.unwrap_err().reason(), "RemoteInvalid");
    let value = RemoteValue::from_bytes(b"new".to_vec());
    assert_eq!(store.put_pending(key.clone(), token.clone(), value).await, Err(WriteError::ReadOnlyStore));
    assert_eq!(store.promote(key.clone(), None, token.clone()).await, Err(WriteError::ReadOnlyStore));
    assert_eq!(store.clear_pending(key.clone(), token.clone()).await, Err(WriteError::ReadOnlyStore));
    assert_eq!(store.rotate(key, token).await, Err(WriteError::ReadOnlyStore));
    assert_eq!(fs::read(disk.path().join("root/team/prod/db.json")).unwrap(), br#"{"password":"hunter2"}"#);
}
