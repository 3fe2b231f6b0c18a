//! The GitHub Action and the pre-commit hook, as their runners run them: the script with its environment, the entry on a repository.

use super::judge::ROOT;
use super::written::{objects, text};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PLUGIN: &str = env!("CARGO_BIN_EXE_kubectl-scoped_secrets");

/// A repository with the examples, and a folder of programs that comes first on the PATH.
struct Checkout {
    dir: tempfile::TempDir,
}

impl Checkout {
    fn new() -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        std::fs::create_dir_all(dir.path().join("bin")).unwrap();
        for folder in ["platform", "payments", "billing", "refused"] {
            std::fs::create_dir_all(dir.path().join("my repo").join(folder)).unwrap();
            for file in std::fs::read_dir(Path::new(ROOT).join("examples").join(folder)).unwrap() {
                let file = file.unwrap();
                let to = dir.path().join("my repo").join(folder).join(file.file_name());
                std::fs::copy(file.path(), to).unwrap();
            }
        }
        Self { dir }
    }

    fn repository(&self) -> PathBuf {
        self.dir.path().join("my repo")
    }

    /// A program of this name and text.
    fn program(&self, name: &str, script: &str) {
        let path = self.dir.path().join("bin").join(name);
        std::fs::write(&path, format!("#!/usr/bin/env bash\n{script}\n")).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn with_plugin(self) -> Self {
        self.program("kubectl-scoped_secrets", &format!("exec '{PLUGIN}' \"$@\""));
        self
    }

    /// bash in the repository, with the programs above and what every system has.
    fn bash(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        // As GitHub runs `shell: bash`.
        command.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script]).current_dir(self.repository());
        command.env("PATH", format!("{}:/usr/bin:/bin", self.dir.path().join("bin").display()));
        command
    }

    /// Runs the action with these inputs; what it printed, and its outputs.
    fn act(&self, inputs: &[(&str, &str)]) -> (Output, String) {
        let action = &objects(&text("action.yml"))[0];
        let step = &action["runs"]["steps"][0];
        assert_eq!((&step["shell"], &action["runs"]["using"]), (&"bash".into(), &"composite".into()));
        let outputs = self.dir.path().join("outputs");
        std::fs::write(&outputs, "").unwrap();
        let mut command = self.bash(step["run"].as_str().unwrap());
        command.env("GITHUB_OUTPUT", &outputs);
        for (variable, expression) in step["env"].as_object().unwrap() {
            let expression = expression.as_str().unwrap();
            let input = expression.strip_prefix("${{ inputs.").and_then(|rest| rest.strip_suffix(" }}")).unwrap();
            let known = action["inputs"].get(input).unwrap_or_else(|| panic!("{input} is no input"));
            let given = inputs.iter().find(|(name, _)| *name == input).map(|(_, value)| *value);
            let value = given.or(known["default"].as_str()).unwrap_or_else(|| panic!("{input} is required"));
            command.env(variable, value);
        }
        for (name, _) in inputs {
            assert!(action["inputs"].get(name).is_some(), "{name} is no input");
        }
        let output = command.output().unwrap();
        (output, std::fs::read_to_string(outputs).unwrap())
    }
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_action_passes_what_is_clean_and_fails_what_is_refused() {
    let checkout = Checkout::new().with_plugin();
    let account = ("account-id", "main=123456789012");
    let (clean, outputs) = checkout.act(&[("files", "  platform\npayments\n\nbilling\n"), account]);
    assert!(clean.status.success(), "{}", told(&clean));
    assert_eq!(outputs, "exit-code=0\nsarif=scoped-secrets.sarif\n");
    let (refused, outputs) =
        checkout.act(&[("files", "platform\npayments\nbilling\nrefused"), account, ("sarif", "found here.sarif")]);
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    assert!(told(&refused).contains("KeyNotAllowed"), "{}", told(&refused));
    assert_eq!(outputs, "exit-code=1\nsarif=found here.sarif\n");
    let sarif = std::fs::read_to_string(checkout.repository().join("found here.sarif")).unwrap();
    let sarif: Value = serde_json::from_str(&sarif).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    assert!(!sarif["runs"][0]["results"].as_array().unwrap().is_empty());
    // One file that is no YAML: nothing was judged, and a report without results would close the alerts that are open.
    std::fs::write(checkout.repository().join("template.yaml"), "a: {{ .x }}\n").unwrap();
    let (unjudged, outputs) = checkout.act(&[("files", "platform\npayments\nrefused\ntemplate.yaml"), account]);
    assert_eq!((unjudged.status.code(), outputs.as_str()), (Some(2), "exit-code=2\n"), "{}", told(&unjudged));
    let (nothing, outputs) = checkout.act(&[("files", "not-there")]);
    assert_eq!((nothing.status.code(), outputs.as_str()), (Some(2), "exit-code=2\n"), "{}", told(&nothing));
}

/// What a pull request wrote is an argument, never a command or a flag.
#[test]
fn inputs_are_no_script() {
    let checkout = Checkout::new().with_plugin();
    let hostile = "$(touch stolen)\n`touch stolen`\n; touch stolen\n--help\n*";
    let (ran, _) =
        checkout.act(&[("files", hostile), ("account-id", "$(touch stolen)"), ("namespace", "a; touch stolen")]);
    assert_eq!(ran.status.code(), Some(2), "{}", told(&ran));
    assert!(!told(&ran).contains("Usage:"), "{}", told(&ran));
    assert!(!checkout.repository().join("stolen").exists());
}

/// Without the plugin the image has it: docker is asked for exactly that, and the repository is read-only in it.
#[test]
fn the_image_has_the_plugin() {
    let checkout = Checkout::new();
    let script = format!(
        "printf '%s\\n' \"$@\" >> \"$PWD/../asked\"\nwhile [[ $1 != simulate ]]; do shift; done\nexec '{PLUGIN}' \"$@\""
    );
    checkout.program("docker", &script);
    let (clean, _) = checkout.act(&[("files", "platform\npayments"), ("account-id", "123456789012")]);
    assert!(clean.status.success(), "{}", told(&clean));
    let asked = std::fs::read_to_string(checkout.dir.path().join("asked")).unwrap();
    let image = format!("ghcr.io/scoped-secrets/scoped-secrets:v{}", env!("CARGO_PKG_VERSION"));
    let mount = format!("{}:/work:ro", checkout.repository().display());
    for word in ["run", "--rm", mount.as_str(), "kubectl-scoped_secrets", image.as_str()] {
        assert!(asked.lines().any(|line| line == word), "{word}: {asked}");
    }
}

#[test]
fn the_hooks_judge_the_folders_that_they_are_given() {
    let hooks: Vec<Value> = serde_saphyr::from_str(&text(".pre-commit-hooks.yaml")).unwrap();
    assert_eq!(hooks.len(), 2);
    let checkout = Checkout::new().with_plugin();
    // A chart's templates are no YAML yet, and hold up nobody who gave no args.
    let chart = checkout.repository().join("chart");
    std::fs::create_dir_all(chart.join("templates")).unwrap();
    std::fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: a\nversion: 0.1.0\n").unwrap();
    std::fs::write(chart.join("templates/a.yaml"), "a: {{ .x }}\n").unwrap();
    for hook in &hooks {
        let entry = hook["entry"].as_str().unwrap();
        let entry = match hook["language"].as_str().unwrap() {
            "system" => entry.to_owned(),
            "docker_image" => {
                let image = format!("ghcr.io/scoped-secrets/scoped-secrets:v{}", env!("CARGO_PKG_VERSION"));
                let inside = entry.strip_prefix("--entrypoint kubectl-scoped_secrets ").unwrap();
                format!("kubectl-scoped_secrets {}", inside.strip_prefix(&*image).unwrap())
            }
            other => panic!("{other}"),
        };
        assert_eq!(hook["pass_filenames"], false, "a verdict needs more than the files that changed");
        assert_eq!(hook["args"], serde_json::json!(["."]));
        let run =
            |folders: &str| checkout.bash(&format!("{entry} --account-id 123456789012 {folders}")).output().unwrap();
        let clean = run("platform payments billing");
        assert!(clean.status.success(), "{}", told(&clean));
        let refused = run(".");
        assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
        let meant = run("platform payments chart/templates/a.yaml");
        assert_eq!(meant.status.code(), Some(2), "{}", told(&meant));
    }
}
