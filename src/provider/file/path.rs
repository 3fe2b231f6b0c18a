//! Which files may be read.
//!
//! Only regular files that, with every symlink followed, lie below the root; none below `/proc`, `/sys`, `/dev` or the
//! directories where Kubernetes mounts ServiceAccount tokens, even if the root is above those. A file that is
//! exchanged between the check and the read is noticed, and nothing but a regular file is ever opened for long enough
//! to block.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use zeroize::Zeroize;

use crate::provider::{FetchError, MAX_VALUE_BYTES};

/// Never read, whatever the root. Compared as given and resolved (`/var/run` is often `/run`).
const FORBIDDEN: [&str; 5] = ["/proc", "/sys", "/dev", "/run/secrets", "/var/run/secrets"];

/// `O_NONBLOCK`: opening a pipe that nobody writes to returns at once. fcntl.h of Linux on all architectures that
/// Kubernetes runs on; elsewhere of the BSDs.
const O_NONBLOCK: i32 = if cfg!(target_os = "linux") { 0o4000 } else { 0x4 };

/// How often a file that is exchanged while it is read is tried: a ConfigMap's update exchanges all of them.
const TRIES: usize = 3;

/// The directory. Its name is its real path, so that one file has one key, whichever store it is read through.
pub(super) struct Root {
    real: PathBuf,
}

impl Root {
    pub(super) fn open(root: &Path) -> Result<Root, FetchError> {
        let plain = root.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        if !root.is_absolute() || !plain || root.to_str().is_none() {
            return Err(FetchError::invalid("the file store's path must be absolute, without `.` or `..`, and UTF-8"));
        }
        let named: PathBuf = root.components().collect();
        permit(&named)?;
        let real = fs::canonicalize(&named).map_err(|error| trouble(&error, "the file store's directory"))?;
        permit(&real)?;
        if !real.is_dir() {
            return Err(FetchError::invalid("the file store's path is not a directory"));
        }
        if real != named {
            return Err(FetchError::PathForbidden {
                what: "the file store's path leads over a symlink, and one file must not have two names: write the directory's real path",
            });
        }
        Ok(Root { real })
    }

    /// The key's canonical form.
    pub(super) fn identity(&self, key: &str) -> String {
        format!("file:{}", self.real.join(key).display())
    }

    pub(super) fn read(&self, key: &str) -> Result<Vec<u8>, FetchError> {
        check_key(key)?;
        for _ in 1..TRIES {
            if let Some(bytes) = self.try_read(key)? {
                return Ok(bytes);
            }
        }
        self.try_read(key)?.ok_or_else(|| FetchError::unavailable("the file changes while it is read"))
    }

    /// `None` if the file was exchanged meanwhile.
    fn try_read(&self, key: &str) -> Result<Option<Vec<u8>>, FetchError> {
        let path = self.find(key)?;
        let Some(real) = resolve(&path)? else {
            return Ok(None);
        };
        if !real.starts_with(&self.real) {
            return Err(FetchError::PathForbidden { what: "it leads out of the file store's directory" });
        }
        permit(&real)?;
        let checked = match fs::symlink_metadata(&real) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            checked => checked.map_err(|error| trouble(&error, "the file"))?,
        };
        if !checked.is_file() {
            return Err(FetchError::NotAFile);
        }
        let file = match OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(&real) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|error| trouble(&error, "the file"))?,
        };
        let opened = file.metadata().map_err(|error| trouble(&error, "the file"))?;
        let same = (opened.dev(), opened.ino()) == (checked.dev(), checked.ino());
        if !same || !opened.is_file() || resolve(&path)?.as_ref() != Some(&real) {
            return Ok(None);
        }
        contents(file).map(Some)
    }

    /// The one file that the key stands for.
    fn find(&self, key: &str) -> Result<PathBuf, FetchError> {
        let forms = [format!("{key}.json"), key.to_owned()].map(|name| self.real.join(name));
        let mut present = Vec::new();
        for path in forms {
            // The link itself: one that leads nowhere is there, too, during a ConfigMap's update.
            match fs::symlink_metadata(&path) {
                Ok(_) if path.is_dir() => {}
                Ok(_) => present.push(path),
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(trouble(&error, "the file")),
            }
        }
        match (present.pop(), present.pop()) {
            (Some(path), None) => Ok(path),
            (None, _) => Err(FetchError::Missing),
            (Some(_), Some(_)) => Err(FetchError::invalid(
                "there are two files for the key, one with and one without the extension .json; remove one",
            )),
        }
    }
}

fn check_key(key: &str) -> Result<(), FetchError> {
    // Parts that begin with two dots are a ConfigMap's own (`..data`), and would give a file a second key.
    let bad = |part: &str| part.is_empty() || part == "." || part.starts_with("..");
    if key.contains('\0') || key.split('/').any(bad) {
        return Err(FetchError::invalid(
            "a key is a relative path without empty parts, `.`, or parts that begin with `..`",
        ));
    }
    if key.ends_with(".json") {
        return Err(FetchError::invalid("a key is written without the file's extension .json"));
    }
    Ok(())
}

fn permit(path: &Path) -> Result<(), FetchError> {
    let inside =
        |place: &str| path.starts_with(place) || fs::canonicalize(place).is_ok_and(|real| path.starts_with(real));
    if FORBIDDEN.into_iter().any(inside) {
        return Err(FetchError::PathForbidden {
            what: "files below /proc, /sys, /dev and the directories of ServiceAccount tokens are never read",
        });
    }
    Ok(())
}

/// The path without symlinks; `None` if it leads nowhere.
fn resolve(path: &Path) -> Result<Option<PathBuf>, FetchError> {
    match fs::canonicalize(path) {
        Ok(real) => Ok(Some(real)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(trouble(&error, "the file")),
    }
}

/// Reads no more than is needed to tell that it is too much, into a buffer that is zeroed and never grows.
fn contents(file: File) -> Result<Vec<u8>, FetchError> {
    let mut bytes = Vec::with_capacity(MAX_VALUE_BYTES + 1);
    let read = file.take(MAX_VALUE_BYTES as u64 + 1).read_to_end(&mut bytes);
    if read.is_ok() && bytes.len() <= MAX_VALUE_BYTES {
        let exact = bytes.as_slice().to_vec();
        bytes.zeroize();
        return Ok(exact);
    }
    bytes.zeroize();
    match read {
        Ok(_) => Err(FetchError::TooLarge),
        Err(error) => Err(trouble(&error, "the file")),
    }
}

/// Whether there is no such file, nor can be: a key of AWS may be longer than a file's name.
fn is_missing(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    [NotFound, NotADirectory, InvalidFilename].contains(&error.kind())
}

fn trouble(error: &io::Error, what: &str) -> FetchError {
    let why = match error.kind() {
        io::ErrorKind::PermissionDenied => "permission denied",
        io::ErrorKind::NotFound => "not found",
        _ => "an input/output error",
    };
    FetchError::unavailable(format!("{what} cannot be read: {why}"))
}
