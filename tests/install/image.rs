//! The container image, without a container: its Dockerfile is read, and its build step is run.

use std::path::Path;
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Instructions, with their continuation lines joined.
fn instructions() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(format!("{ROOT}/Dockerfile")).unwrap().replace("\\\n", " ");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parted = lines.map(|line| line.split_once(' ').unwrap_or_else(|| panic!("{line:?} is no instruction")));
    parted.map(|(word, rest)| (word.to_owned(), rest.trim().to_owned())).collect()
}

#[test]
fn the_image_is_not_root_and_has_no_shell() {
    let all = instructions();
    let known = ["ARG", "FROM", "WORKDIR", "COPY", "RUN", "LABEL", "USER", "EXPOSE", "ENTRYPOINT"];
    for (word, rest) in &all {
        assert!(known.contains(&word.as_str()), "{word} {rest}");
    }
    let last = all.iter().rposition(|(word, _)| word == "FROM").unwrap();
    let (before, image) = all.split_at(last);
    assert!(image[0].1.starts_with("gcr.io/distroless/") && image[0].1.ends_with(":nonroot"), "{}", image[0].1);
    assert!(image.iter().all(|(word, _)| word != "RUN"), "there is no shell to run anything");
    assert!(image.iter().any(|(word, user)| word == "USER" && user == "65532:65532"), "as the chart's runAsUser");
    let from = before.iter().find(|(word, _)| word == "FROM").unwrap();
    assert!(from.1.starts_with("--platform=$BUILDPLATFORM rust:${RUST_VERSION}-") && from.1.ends_with(" AS build"));
    let version = all.iter().find(|(word, rest)| word == "ARG" && rest.starts_with("RUST_VERSION=")).unwrap();
    let wanted = std::fs::read_to_string(format!("{ROOT}/Cargo.toml")).unwrap();
    assert!(wanted.contains(&format!("rust-version = {:?}", version.1.strip_prefix("RUST_VERSION=").unwrap())));
}

/// Its SBOM is to list the crates: the scanner is told to read the build's context, and Cargo.lock is in it.
#[test]
fn its_sbom_has_the_crates() {
    let all = instructions();
    let from = all.iter().position(|(word, _)| word == "FROM").unwrap();
    assert!(all[..from].contains(&("ARG".to_owned(), "BUILDKIT_SBOM_SCAN_CONTEXT=true".to_owned())), "{all:?}");
    let context = std::fs::read_to_string(format!("{ROOT}/.dockerignore")).unwrap();
    assert!(context.lines().any(|line| line == "!Cargo.lock"), "{context}");
}

/// What goes into the image is there after the build, and nothing that the build needs is left out of its context.
#[test]
fn its_build_step_makes_what_it_copies() {
    let all = instructions();
    let runs: Vec<&str> = all.iter().filter(|(word, _)| word == "RUN").map(|(_, step)| step.as_str()).collect();
    let [step] = runs.as_slice() else { panic!("one step is what can be tried here: {runs:?}") };
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => panic!("there is no image for {other}"),
    };
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image");
    let step = step.replace("${TARGETARCH}", architecture).replace("/out", out.to_str().unwrap());
    let built = Command::new("sh").args(["-c", &step]).current_dir(ROOT).env("PROFILE", "dev").output().unwrap();
    assert!(built.status.success(), "{step}: {}", String::from_utf8_lossy(&built.stderr));
    let copied = all.iter().rfind(|(word, rest)| word == "COPY" && rest.starts_with("--from=build")).unwrap();
    let parts: Vec<&str> = copied.1.split_whitespace().collect();
    let (programs, folder) = (&parts[1..parts.len() - 1], parts[parts.len() - 1]);
    assert_eq!(programs.len(), 2);
    for program in programs {
        let name = program.strip_prefix("/out/").unwrap();
        let told = Command::new(out.join(name)).arg("--version").output().unwrap();
        assert!(told.status.success() && String::from_utf8_lossy(&told.stdout).contains(env!("CARGO_PKG_VERSION")));
    }
    let entry = all.iter().find(|(word, _)| word == "ENTRYPOINT").unwrap();
    assert_eq!(entry.1, format!("[\"{folder}scoped-secrets\"]"));
    let wrong = Command::new(format!("{ROOT}/image/build")).args(["riscv64", "/nowhere"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}

/// The build's context is a list of what it needs; whatever the sources include must be in it.
#[test]
fn the_context_has_what_the_sources_include() {
    let ignore = std::fs::read_to_string(format!("{ROOT}/.dockerignore")).unwrap();
    let kept: Vec<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let manifest = std::fs::read_to_string(format!("{ROOT}/Cargo.toml")).unwrap();
    let paths = manifest.lines().filter_map(|line| line.strip_prefix("path = \"")?.strip_suffix('"'));
    let included = included(Path::new(ROOT).join("src").as_path());
    assert!(included.iter().any(|path| path.starts_with("deploy/base/")), "{included:?}");
    let needed = ["Cargo.toml", "Cargo.lock", ".cargo", "src", "image/build", "benches"];
    for path in paths.chain(needed).chain(included.iter().map(String::as_str)) {
        assert!(kept.iter().any(|kept| path == *kept || path.starts_with(&format!("{kept}/"))), "{path} is left out");
    }
}

/// The files that sources below a folder include, from the repository's root.
fn included(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            all.extend(included(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let named = ["include_str!(\"", "include_bytes!(\""].iter().flat_map(|word| text.split(word).skip(1));
            let files = named.filter_map(|rest| rest.split('"').next()).map(|file| folder.join(file));
            let whole = files.map(|file| file.canonicalize().unwrap_or_else(|_| panic!("{file:?} in {path:?}")));
            let from_root = |file: std::path::PathBuf| {
                file.strip_prefix(Path::new(ROOT).canonicalize().unwrap()).unwrap().display().to_string()
            };
            all.extend(whole.map(from_root));
        }
    }
    all
}
