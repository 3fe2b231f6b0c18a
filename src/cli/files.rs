//! Files, folders and stdin, read within bounds.

use super::kustomization::{self, Kustomization};
use super::report::{Finding, Location, Rule, Severity, Subject};
use super::simulate::object::Source;
use crate::api::Reason;
use crate::yaml::Place;
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
    /// Files and folders that were come upon, as they are really called.
    seen: BTreeSet<PathBuf>,
    /// Likewise, files that are only patches of what others say.
    patches: BTreeSet<PathBuf>,
    kustomized: Vec<Kustomized>,
    /// Links to folders, which are not followed.
    links: Vec<PathBuf>,
}

/// A folder with a kustomization.
#[derive(Debug)]
struct Kustomized {
    folder: PathBuf,
    file: PathBuf,
    kustomization: Kustomization,
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
    /// What was found in folders and is not judged as it will be applied, each a finding that says what to do; `asked` is how the same
    /// is asked of stdin.
    pub fn unjudged(&self, asked: &str) -> Vec<Finding> {
        let is_seen = |path: &Path| fs::canonicalize(path).is_ok_and(|real| self.seen.contains(&real));
        let mut findings = Vec::new();
        for Kustomized { folder, file, kustomization } in &self.kustomized {
            let mut what = kustomization.changes.clone();
            let elsewhere = kustomization.resources.iter().find(|path| !is_seen(&folder.join(path)));
            what.extend(elsewhere.map(|path| format!("{path}, which was not read")));
            if what.is_empty() {
                continue;
            }
            let (what, built) = (what.join(", "), format!("| kubectl scoped-secrets {asked}"));
            let message = if kustomization.is_component {
                format!(
                    "what this component makes of the kustomizations that take it is not judged ({what}): instead of their folders, name what is built of them: kubectl kustomize FOLDER {built}"
                )
            } else {
                format!(
                    "what kustomize builds of this folder is not judged, only its files ({what}): instead of the folder, name what is built of it: kubectl kustomize {} {built}",
                    quoted(folder)
                )
            };
            findings.push(unjudged("Kustomization", folder, file, message));
        }
        for link in self.links.iter().filter(|link| !is_seen(link)) {
            let message = format!(
                "this link leads to a folder, which was not entered, so that what is in it is not judged: name {} as well",
                quoted(link)
            );
            findings.push(unjudged("Link", link, link, message));
        }
        findings
    }

    fn file(&mut self, path: &Path, found: bool) {
        if let Ok(real) = fs::canonicalize(path) {
            if found && self.patches.contains(&real) {
                let patch = format!("{}: a patch; judge what kubectl kustomize makes of it", path.display());
                return self.skipped.push(patch);
            }
            if !self.seen.insert(real) {
                return;
            }
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
        if let Ok(real) = fs::canonicalize(path) {
            if !self.seen.insert(real.clone()) {
                return;
            }
            self.kustomization(path, &real);
        }
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            let name = entry.file_name();
            let name = name.to_string_lossy();
            match fs::metadata(&path) {
                Ok(kind) if kind.is_dir() && name.starts_with('.') => {
                    self.skipped.push(format!("{}: a hidden folder", path.display()));
                }
                Ok(kind) if kind.is_dir() && is_templates(&path) => {
                    self.skipped.push(format!(
                        "{}: a chart's templates; judge what helm template makes of them",
                        path.display()
                    ));
                }
                Ok(kind) if kind.is_dir() && is_link => self.links.push(path),
                Ok(kind) if kind.is_dir() => self.folder(&path),
                Ok(kind) if kind.is_file() && has_objects(&path) => self.file(&path, true),
                Ok(kind) if kind.is_file() => {
                    self.skipped.push(format!("{}: not .yaml, .yml or .json", path.display()));
                }
                // By a link of such a name that leads nowhere, Emacs marks a file that somebody edits.
                Err(error) if is_link && has_objects(&path) && !name.starts_with(".#") => {
                    self.errors.push(format!("{}: this link leads nowhere: {error}", path.display()));
                }
                Err(error) if !is_link => self.errors.push(format!("{}: {error}", path.display())),
                _ => self.skipped.push(format!("{}: not a file", path.display())),
            }
        }
    }

    /// The kustomization of a folder, if it has one. That its file cannot be read is said of it as of any other.
    fn kustomization(&mut self, folder: &Path, real: &Path) {
        let mut files = kustomization::NAMES.iter().map(|name| folder.join(name));
        let Some(file) = files.find(|path| path.is_file()) else { return };
        let Ok(bytes) = File::open(&file).and_then(|mut file| bounded(&mut file)) else { return };
        let Some(kustomization) = Kustomization::read(&bytes) else { return };
        let patches = kustomization.patches.iter().filter(|path| !kustomization.resources.contains(path));
        let patches = patches.filter_map(|path| fs::canonicalize(real.join(path)).ok());
        // As kustomize itself, it says nothing of files elsewhere: they may be another team's.
        self.patches.extend(patches.filter(|path| path.starts_with(real)));
        self.kustomized.push(Kustomized { folder: folder.to_owned(), file, kustomization });
    }
}

fn unjudged(kind: &str, subject: &Path, file: &Path, message: String) -> Finding {
    let subject = Subject::cluster(kind, &subject.display().to_string());
    let location = Location { file: file.display().to_string().into(), at: Place::START };
    let finding = Finding::live(Severity::Warning, Rule::Inputs, Reason::NotJudged, subject, message);
    Finding { location: Some(location), ..finding }
}

/// As it is typed in a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+@,=".contains(c));
    if is_plain { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Whether it is the folder of a chart's templates.
fn is_templates(path: &Path) -> bool {
    path.ends_with("templates") && path.with_file_name("Chart.yaml").is_file()
}

fn has_objects(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json") || path.ends_with("Kustomization")
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

    /// What is read of these files, with each finding's place and message.
    fn walked(files: &[(&str, &str)], named: &[&str]) -> (Vec<String>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let named: Vec<PathBuf> = named.iter().map(|name| folder.path().join(name)).collect();
        let inputs = read(&named, &mut io::empty());
        assert_eq!(inputs.errors, [""; 0]);
        let root = format!("{}/", folder.path().display());
        let findings = inputs.unjudged("simulate PLATFORM -").into_iter().map(|finding| {
            assert_eq!((finding.severity, finding.reason), (Severity::Warning, Reason::NotJudged));
            format!("{}: {}", finding.location.unwrap().file, finding.message).replace(&root, "")
        });
        (inputs.sources.iter().map(|source| source.name.replace(&root, "")).collect(), findings.collect())
    }

    #[test]
    fn what_kustomize_makes_of_a_folder_is_said_not_to_be_judged() {
        let overlay = |text: &'static str| {
            [("apps/base/a.yaml", ""), ("apps/prod/b.yaml", ""), ("apps/prod/kustomization.yaml", text)]
        };
        for (text, read, part) in [
            ("resources: [b.yaml, ../base]\n", true, None),
            ("resources: [../base]\npatches: [{path: b.yaml}]\n", false, Some("(patches)")),
            ("resources: [../base]\npatchesStrategicMerge: [b.yaml]\n", false, Some("(patchesStrategicMerge)")),
            ("resources: [b.yaml]\npatches: [{path: b.yaml}]\n", true, Some("(patches)")),
            // Not its own: whoever has that file has it judged.
            ("patches: [{path: ../base/a.yaml}]\nnamespace: a\n", true, Some("(patches, namespace)")),
            ("resources: [b.yaml, ../gone]\n", true, Some("(../gone, which was not read)")),
        ] {
            let (sources, findings) = walked(&overlay(text), &["apps"]);
            assert!(sources.contains(&"apps/base/a.yaml".to_owned()), "{text}");
            assert_eq!(sources.contains(&"apps/prod/b.yaml".to_owned()), read, "{text}");
            let [found] = &findings[..] else {
                assert_eq!((findings.len(), part), (0, None), "{text}: {findings:?}");
                continue;
            };
            assert!(found.starts_with("apps/prod/kustomization.yaml: ") && found.contains(part.unwrap()), "{found}");
            assert!(
                found.ends_with("kubectl kustomize apps/prod | kubectl scoped-secrets simulate PLATFORM -"),
                "{found}"
            );
        }
        let patched = overlay("resources: [../base]\npatches: [{path: b.yaml}]\n");
        assert_eq!(walked(&patched, &["apps", "apps/prod", "apps/prod/b.yaml"]).0.last().unwrap(), "apps/prod/b.yaml");
        let (_, findings) = walked(&overlay("resources: [../base]\n"), &["apps/prod"]);
        assert!(findings.len() == 1 && findings[0].contains("../base, which was not read"), "{findings:?}");
        let component = [("a b/Kustomization", "kind: Component\npatches: [{patch: 'a: b'}]\n")];
        let (sources, findings) = walked(&component, &["a b"]);
        assert_eq!(sources, ["a b/Kustomization"]);
        assert!(findings.len() == 1 && findings[0].contains("kubectl kustomize FOLDER"), "{findings:?}");
        let spaced = [("a b/kustomization.yml", "namePrefix: a-\n")];
        assert!(walked(&spaced, &["a b"]).1[0].contains("a b' | kubectl"), "quoted");
    }

    #[test]
    fn links_are_not_passed_over_in_silence() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let [inside, outside] = ["inside", "outside"].map(|name| folder.path().join(name));
        fs::create_dir_all(inside.join("own")).unwrap();
        fs::create_dir(&outside).unwrap();
        for (name, target) in [
            ("shared", "../outside"),
            ("again", "own"),
            ("loop", "."),
            ("policy.yaml", "../gone.yaml"),
            (".#store.yaml", "somebody@there.1"),
            ("current", "gone"),
        ] {
            symlink(target, inside.join(name)).unwrap();
        }
        let inputs = read(std::slice::from_ref(&inside), &mut io::empty());
        let told = |inputs: &Inputs| -> Vec<String> {
            inputs.unjudged("simulate -").into_iter().map(|finding| finding.message).collect()
        };
        assert!(
            matches!(&inputs.errors[..], [error] if error.contains("policy.yaml: this link leads nowhere")),
            "{inputs:?}"
        );
        assert!(matches!(&told(&inputs)[..], [message] if message.contains("inside/shared as well")), "{inputs:?}");
        assert_eq!(inputs.skipped.len(), 2, "{inputs:?}");
        assert_eq!(told(&read(&[inside.clone(), inside.join("shared")], &mut io::empty())), [""; 0]);
    }

    #[test]
    fn a_large_input_is_refused() {
        let inputs = read(&["-".into()], &mut io::repeat(b' '));
        assert!(inputs.sources.is_empty() && inputs.errors[0].contains("16 MiB"));
    }
}
