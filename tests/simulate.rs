//! `kubectl scoped-secrets simulate`, as a user runs it: the built plugin, files in a folder, the exit code.

#![allow(clippy::unwrap_used, reason = "a story ends where its ground is missing")]

use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const STORE: &str = r#"apiVersion: scopedsecrets.io/v1alpha1
kind: ScopedSecretStore
metadata: {name: aws-prod}
spec:
  aws:
    region: eu-west-1
    accountId: "123456789012"
"#;

const POLICY: &str = r#"apiVersion: scopedsecrets.io/v1alpha1
kind: SegmentationPolicy
metadata: {name: tenants}
spec:
  segment: {labels: [tenant, environment]}
  allow:
  - storeRef: {name: aws-prod}
    keys: ["${label:tenant}/${label:environment}/**"]
"#;

fn namespace(tenant: &str, environment: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {tenant}-{environment}\n  labels: {{tenant: {tenant}, environment: {environment}}}\n"
    )
}

fn secret(namespace: &str, name: &str, key: &str) -> String {
    format!(
        "apiVersion: scopedsecrets.io/v1alpha1
kind: ScopedSecret
metadata:
  name: {name}
  namespace: {namespace}
spec:
  storeRef: {{name: aws-prod}}
  consumers: [{{serviceAccountName: orders}}]
  data:
  - secretKey: password
    remoteRef: {{key: {key}, property: password}}
"
    )
}

/// A repository: the platform's files in one folder, and whatever a test adds.
struct Repository(TempDir);

struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Repository {
    fn with_platform() -> Self {
        let repository = Self(tempfile::tempdir().unwrap());
        repository
            .file("platform/policy.yaml", POLICY)
            .file("platform/store.yml", STORE)
            .file(
                "platform/namespaces.yaml",
                &[namespace("payments", "prod"), namespace("billing", "prod")].join("---\n"),
            )
            .file("platform/README.md", "not YAML: [")
    }

    fn file(self, name: &str, text: &str) -> Self {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn simulate(&self, arguments: &[&str]) -> Run {
        self.simulate_with_stdin(arguments, "")
    }

    fn simulate_with_stdin(&self, arguments: &[&str], stdin: &str) -> Run {
        run(self.0.path(), &[&["simulate"], arguments].concat(), stdin)
    }
}

fn run(folder: &Path, arguments: &[&str], stdin: &str) -> Run {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kubectl-scoped_secrets"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may stop without reading all of it.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn a_clean_repository_is_clean() {
    let repository = Repository::with_platform().file("app.yaml", &secret("payments-prod", "a", "payments/prod/db"));
    let run = repository.simulate(&["platform", "app.yaml"]);
    assert_eq!((run.code, &*run.out, &*run.err), (Some(0), "no findings: 1 ScopedSecret allowed\n", ""));
}

#[test]
fn another_tenants_key_is_refused_at_its_line() {
    let repository =
        Repository::with_platform().file("apps/app.yaml", &secret("billing-prod", "a", "payments/prod/db"));
    let run = repository.simulate(&["."]);
    assert_eq!(run.code, Some(1), "{}", run.err);
    let first = run.out.lines().next().unwrap();
    assert!(first.starts_with("./apps/app.yaml:11:22: error: [Claims/KeyNotAllowed] policy \"tenants\""), "{first}");
    assert!(first.contains("tenant=billing") && first.ends_with("allowed here: billing/prod/**"), "{first}");
    assert!(
        run.out.contains("\n    write instead: ")
            && run.out.ends_with("1 finding in 1 object; 0 ScopedSecrets allowed\n")
    );
}

#[test]
fn the_crds_own_rules_are_asked() {
    let both = STORE.to_owned() + "  file: {path: /etc/scoped-secrets}\n";
    let repository = Repository::with_platform().file("platform/store.yml", &both);
    let run = repository.simulate(&["platform"]);
    assert_eq!(run.code, Some(1));
    assert_eq!(
        run.out.lines().next().unwrap(),
        "platform/store.yml:4:1: error: [Schema/StoreInvalid] spec: Invalid value: write exactly one provider block: aws or file"
    );
}

#[test]
fn a_misspelt_field_is_found() {
    let app = secret("payments-prod", "a", "payments/prod/db").replace("consumers:", "consumer:");
    let run = Repository::with_platform().file("app.yaml", &app).simulate(&["platform", "app.yaml"]);
    assert_eq!(run.code, Some(1));
    let lines: Vec<&str> = run.out.lines().collect();
    assert!(lines[0].starts_with("app.yaml:6:1: error: [Claims/ConsumersRequired]"), "{}", run.out);
    assert_eq!(
        lines[2..4],
        ["app.yaml:8:3: error: [Schema/SpecInvalid] unknown field \"spec.consumer\"", "    write instead: consumers"]
    );
}

#[test]
fn words_that_yaml_reads_as_booleans_are_found() {
    let app = secret("payments-prod", "on", "payments/prod/db");
    let run = Repository::with_platform().file("app.yaml", &app).simulate(&["platform", "app.yaml"]);
    assert_eq!(run.code, Some(1));
    assert!(
        run.out.starts_with("app.yaml:4:9: error: [Schema/SpecInvalid] metadata.name: Invalid value: \"boolean\""),
        "{}",
        run.out
    );
    assert!(run.out.contains("write instead: \"on\", in quotes"), "{}", run.out);
}

#[test]
fn stdin_lists_and_json_are_read() {
    let repository = Repository::with_platform();
    let claim = secret("payments-prod", "a", "payments/prod/db");
    let run = repository.simulate_with_stdin(&["platform", "-"], &claim);
    assert_eq!((run.code, &*run.out), (Some(0), "no findings: 1 ScopedSecret allowed\n"));
    let claim: Value = serde_saphyr::from_str(&claim).unwrap();
    let mut foreign = claim.clone();
    foreign["metadata"]["name"] = "b".into();
    foreign["spec"]["data"][0]["remoteRef"]["key"] = "billing/prod/db".into();
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [claim, foreign]});
    let run = repository.simulate_with_stdin(&["platform", "-"], &format!("{list:#}"));
    assert_eq!(run.code, Some(1));
    let first = run.out.lines().next().unwrap();
    assert!(first.starts_with("stdin:") && first.contains("[Claims/KeyNotAllowed]"), "{first}");
    assert!(run.out.ends_with("1 finding in 1 object; 1 ScopedSecret allowed\n"), "{}", run.out);
}

#[test]
fn sarif_and_json_are_for_machines() {
    let repository = Repository::with_platform().file("my app.yaml", &secret("billing-prod", "a", "payments/prod/db"));
    let run = repository.simulate(&["-o", "sarif", "platform", "my app.yaml"]);
    assert_eq!((run.code, &*run.err), (Some(1), ""));
    let log: Value = serde_json::from_str(&run.out).unwrap();
    let one = &log["runs"][0];
    let result = &one["results"][0];
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(log["version"], "2.1.0");
    assert_eq!(place["artifactLocation"]["uri"], "my%20app.yaml");
    assert_eq!((&place["region"]["startLine"], &place["region"]["startColumn"]), (&11.into(), &22.into()));
    let rule = &one["tool"]["driver"]["rules"][usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
    assert_eq!((&rule["id"], &result["ruleId"]), (&"KeyNotAllowed".into(), &"KeyNotAllowed".into()));
    assert!(rule["help"]["text"].as_str().is_some_and(|text| !text.is_empty()));

    let run = repository.simulate(&["-o", "json", "platform", "my app.yaml"]);
    let report: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(run.code, Some(1));
    assert_eq!(report["findings"][0]["reason"], "KeyNotAllowed");
    assert_eq!(report["summary"]["errors"], 1);

    let broken = repository.file("bad.yaml", "a: [");
    for (format, pointer) in
        [("sarif", "/runs/0/invocations/0/toolExecutionNotifications/0"), ("json", "/inputErrors/0")]
    {
        let run = broken.simulate(&["-o", format, "."]);
        let report: Value = serde_json::from_str(&run.out).unwrap();
        assert_eq!(run.code, Some(2), "{format}");
        assert!(report.pointer(pointer).is_some_and(|e| e.to_string().contains("bad.yaml")), "{format}: {}", run.out);
    }
}

#[test]
fn errors_exit_with_2() {
    let repository = Repository::with_platform()
        .file("bad.yaml", "kind: X\n  a: b\n")
        .file("pod.yaml", "apiVersion: v1\nkind: Pod\n");
    for (arguments, words) in [
        (&["platform", "gone.yaml"][..], "gone.yaml"),
        (&["platform", "bad.yaml"], "bad.yaml:2:4"),
        (&["pod.yaml"], "there is no ScopedSecret"),
        (&["platform", "--output", "xml"], "xml"),
        (&["platform", "--account-id", "aws-prod=1"], "twelve digits"),
        (&[], "FILE"),
    ] {
        let run = repository.simulate(arguments);
        assert_eq!(run.code, Some(2), "{arguments:?}: {}{}", run.out, run.err);
        assert!(format!("{}{}", run.out, run.err).contains(words), "{arguments:?}: {}{}", run.out, run.err);
    }
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(folder.path(), &["--help"], "").code, Some(0));
    assert_eq!(run(folder.path(), &["--version"], "").code, Some(0));
    assert_eq!(run(folder.path(), &["simulate", "."], "").code, Some(2), "an empty folder has nothing to judge");
}

#[test]
fn what_was_passed_over_is_said_only_on_demand() {
    let app =
        secret("payments-prod", "a", "payments/prod/db") + "---\napiVersion: v1\nkind: Service\nmetadata: {name: d}\n";
    let repository = Repository::with_platform().file("app.yaml", &app).file("values.yaml", "image: x\n");
    assert_eq!(repository.simulate(&["."]).err, "");
    let run = repository.simulate(&[".", "-v"]);
    assert_eq!((run.code, &*run.out), (Some(0), "no findings: 1 ScopedSecret allowed\n"));
    for words in ["README.md: not .yaml", "app.yaml:13:1: ignored: Service", "values.yaml:1:1: ignored: "] {
        assert!(run.err.contains(words), "{words}: {}", run.err);
    }
}

#[test]
fn what_kustomize_makes_of_files_is_a_warning() {
    let patch = "apiVersion: scopedsecrets.io/v1alpha1\nkind: ScopedSecret\nmetadata: {name: a, namespace: payments-prod}\nspec: {refreshInterval: 1h}\n";
    let plain = Repository::with_platform()
        .file("apps/base/a.yaml", &secret("payments-prod", "a", "payments/prod/db"))
        .file("apps/base/kustomization.yaml", "resources: [a.yaml]\n")
        .file("apps/prod/kustomization.yaml", "resources: [../base]\n");
    let run = plain.simulate(&["--strict", "."]);
    assert_eq!((run.code, &*run.out), (Some(0), "no findings: 1 ScopedSecret allowed\n"));
    let patched = plain
        .file("apps/prod/kustomization.yaml", "resources: [../base]\npatches: [{path: patch.yaml}]\n")
        .file("apps/prod/patch.yaml", patch);
    let run = patched.simulate(&["."]);
    assert_eq!(run.code, Some(0), "{}{}", run.out, run.err);
    let first = run.out.lines().next().unwrap();
    assert!(first.starts_with("./apps/prod/kustomization.yaml:1:1: warning: [Inputs/NotJudged] "), "{first}");
    assert!(first.ends_with("kubectl kustomize ./apps/prod | kubectl scoped-secrets simulate PLATFORM -"), "{first}");
    assert!(run.out.ends_with("\n1 finding in 1 object (a warning); 1 ScopedSecret allowed\n"), "{}", run.out);
    assert_eq!(patched.simulate(&["--strict", "."]).code, Some(1));
    assert!(patched.simulate(&[".", "-v"]).err.contains("apps/prod/patch.yaml: a patch"));
}

#[test]
fn pods_secrets_and_bindings_are_judged_beside_the_claims() {
    let app = secret("payments-prod", "a", "payments/prod/db")
        + "---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: payments-prod}
spec:
  template:
    spec:
      serviceAccountName: web
      containers:
      - {name: c, envFrom: [{secretRef: {name: a}}]}
---
apiVersion: v1
kind: Secret
metadata: {name: b, namespace: payments-prod, labels: {app.kubernetes.io/managed-by: scoped-secrets}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: c, namespace: payments-prod}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
subjects: [{kind: ServiceAccount, name: x, namespace: billing-prod}]
";
    let repository = Repository::with_platform().file("app.yaml", &app);
    let run = repository.simulate(&["platform", "app.yaml"]);
    assert_eq!(run.code, Some(1), "{}", run.err);
    let found = run.out.lines().filter(|line| line.starts_with("app.yaml:"));
    let found: Vec<&str> = found.filter_map(|line| line.split_once(']').map(|(place, _)| place)).collect();
    let expected = [
        "app.yaml:21:48: error: [Consumers/ForeignConsumer",
        "app.yaml:25:56: error: [ManagedSecrets/ReservedMetadata",
        "app.yaml:31:1: error: [Rbac/CrossSegmentAccess",
    ];
    assert_eq!(found, expected, "{}", run.out);
    // Without admission's refusal it is a warning, which counts only if that is asked for.
    let warned = repository.file("platform/policy.yaml", &(POLICY.to_owned() + "  mode: Warn\n"));
    let app = app.replace(", labels: {app.kubernetes.io/managed-by: scoped-secrets}", "");
    let warned = warned.file("app.yaml", &app);
    assert_eq!(warned.simulate(&["platform", "app.yaml"]).code, Some(0));
    let run = warned.simulate(&["--strict", "platform", "app.yaml"]);
    assert_eq!((run.code, run.out.matches("warning: [").count()), (Some(1), 2), "{}", run.out);
    // What the operator itself is installed with breaks none of the rules.
    let deploy = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/base");
    let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
    let clean = Repository::with_platform();
    assert_eq!(clean.simulate(&["platform", deploy, crds]).out, "no findings: 0 ScopedSecrets allowed\n");
}

#[test]
fn a_large_repository_is_judged_in_one_run() {
    let documents: Vec<String> =
        (0..300).map(|n| secret("payments-prod", &format!("s{n}"), &format!("payments/prod/k{n}"))).collect();
    let repository = Repository::with_platform().file("apps/all.yaml", &documents.join("---\n"));
    let run = repository.simulate(&["."]);
    assert_eq!((run.code, &*run.out), (Some(0), "no findings: 300 ScopedSecrets allowed\n"));
}
