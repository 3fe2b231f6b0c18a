//! Files, folders and stdin, read within bounds.

use super::simulate::object::Source;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What a single input may hold. A cluster's whole export is smaller.
const SIZE_LIMIT: u64 = 16 * 1024 * 1024;

/// Inputs as they were found.
#[derive(Debug, Default)]
pub struct Inputs {
    /// What was read.
    pub sources: Vec<Source>,
    /// What could not be, and why.
    pub errors: Vec<String>,
    /// What was passed over in folders, and why.
    pub skipped: Vec<String>,
    seen: BTreeSet<PathBuf>,
}

/// Reads each path: a file whatever its name, a folder with all below it, `-` for stdin. A file that is named twice is
/// read once.
pub fn read(paths: &[PathBuf], stdin: &mut dyn Read) -> Inputs {
    let mut inputs = Inputs::default();
    let mut stdin = Some(stdin);
    for path in paths {
        if path.as_os_str() == "-" {
            if let Some(stdin) = stdin.take() {
                inputs.take("stdin", bounded(stdin), false);
            }
            continue;
        }
        match fs::metadata(path) {
            Ok(kind) if kind.is_dir() => inputs.folder(path),
            Ok(_) => inputs.file(path, false),
            Err(error) => inputs.errors.push(format!("{}: {error}", path.display())),
        }
    }
    inputs
}

impl Inputs {
    fn file(&mut self, path: &Path, found: bool) {
        if let Ok(real) = fs::canonicalize(path)
            && !self.seen.insert(real)
        {
            return;
        }
        let bytes = File::open(path).and_then(|mut file| bounded(&mut file));
        self.take(&path.display().to_string(), bytes, found);
    }

    fn take(&mut self, name: &str, bytes: io::Result<Vec<u8>>, found: bool) {
        match bytes {
            Ok(bytes) => self.sources.push(Source { name: name.into(), bytes, found }),
            Err(error) => self.errors.push(format!("{name}: {error}")),
        }
    }

    /// In the order of names. Links to folders are not followed; folders with a leading dot, and templates of a Helm chart, which are no
    /// YAML yet, are not entered.
    fn folder(&mut self, path: &Path) {
        let entries = fs::read_dir(path).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => return self.errors.push(format!("{}: {error}", path.display())),
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let kind = match entry.file_type() {
                Ok(kind) if kind.is_symlink() => {
                    fs::metadata(&path).ok().filter(|target| target.is_file()).map(|_| false)
                }
                Ok(kind) => Some(kind.is_dir()),
                Err(_) => None,
            };
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            match kind {
                Some(true) if hidden => self.skipped.push(format!("{}: a hidden folder", path.display())),
                Some(true) if is_templates(&path) => {
                    self.skipped.push(format!(
                        "{}: a chart's templates; judge what helm template makes of them",
                        path.display()
                    ));
                }
                Some(true) => self.folder(&path),
                Some(false) if has_objects(&path) => self.file(&path, true),
                Some(false) => self.skipped.push(format!("{}: not .yaml, .yml or .json", path.display())),
                None => self.skipped.push(format!("{}: not a file", path.display())),
            }
        }
    }
}

/// Whether it is the folder of a chart's templates.
fn is_templates(path: &Path) -> bool {
    path.ends_with("templates") && path.with_file_name("Chart.yaml").is_file()
}

fn has_objects(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json")
}

fn bounded(reader: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(SIZE_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SIZE_LIMIT {
        return Err(io::Error::other(format!("larger than {} MiB", SIZE_LIMIT / 1024 / 1024)));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_folders_in_order_and_nothing_twice() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        };
        ["b/z.json", "b/a.yml", "a.yaml", "README.md", ".git/x.yaml"].into_iter().for_each(write);
        ["c/Chart.yaml", "c/templates/a.yaml", "d/templates/a.yaml"].into_iter().for_each(write);
        let paths =
            [folder.path().join("b/a.yml"), folder.path().into(), "-".into(), "-".into(), folder.path().join("gone")];
        let inputs = read(&paths, &mut "from stdin".as_bytes());
        let read: Vec<(String, bool)> =
            inputs.sources.iter().map(|s| (String::from_utf8_lossy(&s.bytes).into_owned(), s.found)).collect();
        let expected = [
            ("b/a.yml", false),
            ("a.yaml", true),
            ("b/z.json", true),
            ("c/Chart.yaml", true),
            ("d/templates/a.yaml", true),
            ("from stdin", false),
        ];
        assert_eq!(read, expected.map(|(name, found)| (name.to_owned(), found)));
        assert_eq!((inputs.skipped.len(), inputs.errors.len()), (3, 1), "{inputs:?}");
    }

    #[test]
    fn a_large_input_is_refused() {
        let inputs = read(&["-".into()], &mut io::repeat(b' '));
        assert!(inputs.sources.is_empty() && inputs.errors[0].contains("16 MiB"));
    }
}
