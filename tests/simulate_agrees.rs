//! One corpus, two doors: what `simulate` says of an object without a cluster is what a real API server says of it,
//! word for word.

#![allow(clippy::unwrap_used, reason = "a story ends where its ground is missing")]

mod support;

use scoped_secrets::cli::simulate::crd::Crds;
use scoped_secrets::yaml::{compose, split};
use support::cluster::Cluster;

const STORE: &str = "ScopedSecretStore";
const SECRET: &str = "ScopedSecret";
const POLICY: &str = "SegmentationPolicy";

/// Specs that break something, and a few that do not.
const CORPUS: &[(&str, &str)] = &[
    (STORE, "{}"),
    (STORE, "{aws: {region: eu-west-1}, file: {path: /a}}"),
    (STORE, "{aws: {region: Europe}}"),
    (STORE, "{aws: {region: eu-west-1, accountId: 123456789012}}"),
    (STORE, "{aws: {region: eu-west-1, accountId: '12'}}"),
    (STORE, "{aws: {region: eu-west-1, endpoint: nowhere}}"),
    (STORE, "{aws: {region: eu-west-1, endpoint: 'ftp://host'}}"),
    (STORE, "{aws: {region: eu-west-1, endpoint: 'http://localhost:5000'}}"),
    (
        STORE,
        "{aws: {region: eu-west-1, auth: {secretRef: {name: a}, assumeRole: {roleArn: 'arn:aws:iam::123456789012:role/x'}}}}",
    ),
    (STORE, "{aws: {region: eu-west-1, auth: {assumeRole: {roleArn: x}}}}"),
    (
        STORE,
        "{aws: {region: eu-west-1, auth: {assumeRole: {roleArn: 'arn:aws:iam::123456789012:role/x-${namespace}'}}}}",
    ),
    (STORE, "{file: {path: /proc/1}}"),
    (STORE, "{file: {path: /a/../b}}"),
    (STORE, "{aws: {region: eu-west-1, regoin: x}}"),
    (SECRET, "{storeRef: {name: a}}"),
    (SECRET, "{storeRef: {name: a}, data: ~}"),
    (SECRET, "{data: [{secretKey: a, remoteRef: {key: a}}]}"),
    (SECRET, "{storeRef: {name: a}, data: {a: b}}"),
    (SECRET, "{storeRef: {name: a}, data: [{secretKey: yes, remoteRef: {key: a}}]}"),
    (SECRET, "{storeRef: {name: a}, data: [{secretKey: 1, remoteRef: {key: a}}]}"),
    (SECRET, "{storeRef: {name: a}, data: [{secretKey: a/b, remoteRef: {key: a}}]}"),
    (SECRET, "{storeRef: {name: a}, data: [{secretKey: previous.a, remoteRef: {key: a}}]}"),
    (SECRET, "{storeRef: {name: a}, data: [{secretKey: a, remoteRef: {key: a}}, {secretKey: a, remoteRef: {key: b}}]}"),
    (SECRET, "{storeRef: {name: a}, data: [{secretKey: a, remoteRef: {key: 'a/*'}}]}"),
    (SECRET, "{storeRef: {name: a}, data: [{secretKey: a, remoteRef: {key: a/../b}}]}"),
    (
        SECRET,
        "{storeRef: {name: a}, data: [{secretKey: a, remoteRef: {key: 'arn:aws:secretsmanager:eu-west-1:123456789012:secret:a'}}]}",
    ),
    (SECRET, "{storeRef: {name: a}, data: [{secretKey: a, remoteRef: {key: a, property: ''}}]}"),
    (SECRET, "{storeRef: {name: a}, data: [{secretKey: a, remoteRef: {key: a, versionStage: b, versionId: c}}]}"),
    (SECRET, "{storeRef: {name: a}, dataFrom: [{remoteRef: {key: a}}], target: ~}"),
    (SECRET, "{storeRef: {name: a}, dataFrom: [{remoteRef: {key: a}}], target: {name: A_b}}"),
    (SECRET, "{storeRef: {name: a}, dataFrom: [{remoteRef: {key: a}}], target: {nam: a}, foo: 1}"),
    (SECRET, "{storeRef: {name: a}, dataFrom: [{remoteRef: {key: a}}], target: {type: helm.sh/release.v1}}"),
    (SECRET, "{storeRef: {name: a}, dataFrom: [{remoteRef: {key: a}}], target: {immutable: 'true'}}"),
    (SECRET, "{storeRef: {name: a}, dataFrom: [{remoteRef: {key: a}}], target: {template: {labels: {a: on}}}}"),
    (SECRET, "{storeRef: {name: a}, dataFrom: [{remoteRef: {key: a}}], deletionPolicy: retain}"),
    (SECRET, "{storeRef: {name: a}, dataFrom: [{remoteRef: {key: a}}], expirationTime: 2030-01-01T00:00:00Z}"),
    (SECRET, "{storeRef: {name: a}, dataFrom: [{remoteRef: {key: a}}], expirationTime: '2030-01-01t00:00:00z'}"),
    (SECRET, "{storeRef: {name: a}, dataFrom: [{remoteRef: {key: a}}], expirationTime: '2030-01-01T00:00:00z'}"),
    (SECRET, "{storeRef: {name: a}, dataFrom: [{remoteRef: {key: a}}], expirationTime: 9999-12-31T00:00:00Z}"),
    (SECRET, "{storeRef: {name: a}, dataFrom: [{remoteRef: {key: a}}], refreshInterval: 400d}"),
    (SECRET, "{storeRef: {name: a}, dataFrom: [{remoteRef: {key: a}}], refreshInterval: 10ms}"),
    (SECRET, "{storeRef: {name: a}, dataFrom: [{remoteRef: {key: a}}], refreshInterval: 1h30m}"),
    (
        POLICY,
        "{segment: {labels: [t]}, allow: [{storeRef: {name: a}, keys: ['${label:t}/**', '${namespace}/*', a/b]}]}",
    ),
    (POLICY, "{segment: {labels: [t]}, allow: [{storeRef: {name: a}, keys: ['${label:other}/**']}]}"),
    (POLICY, "{segment: {labels: [t]}, allow: [{storeRef: {name: a}, keys: ['a*', a/**/b, a//b]}]}"),
    (POLICY, "{segment: {labels: [t]}, allow: [{storeRef: {name: a}, keys: [a, a]}]}"),
    (POLICY, "{segment: {labels: [t]}, allow: [{storeRef: {name: a}, keys: []}]}"),
    (POLICY, "{segment: {labels: [t]}, allow: [{storeRef: {name: a}, keys: [a], actions: [read]}]}"),
    (POLICY, "{segment: {labels: []}}"),
    (POLICY, "{segment: {labels: ['a b']}}"),
    (POLICY, "{segment: {labels: [t]}, mode: enforce}"),
    (POLICY, "{segment: {labels: [t]}, namespaceSelector: {matchLabels: {team: x}}}"),
    (POLICY, "{segment: {labels: [t]}, namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: x}}}"),
    (POLICY, "{segment: {labels: [t]}, namespaceSelector: {matchExpressions: [{key: team, operator: Exists}]}}"),
    (POLICY, "{segment: {labels: [t]}, namespaceSelector: {matchExpressions: [{key: t, operator: In}]}}"),
    (POLICY, "{segment: {labels: [t]}, rules: {requireConsumers: no}}"),
    (POLICY, "{segment: {labels: [t]}, rules: {requireConsumers: 'no'}}"),
    (
        POLICY,
        "{segment: {labels: [t]}, exceptions: [{rule: ExclusiveKeys, reason: x, expirationTime: 2030-01-01T00:00:00Z}]}",
    ),
    (
        POLICY,
        "{segment: {labels: [t]}, exceptions: [{rule: ExclusiveKeys, keys: [a], reason: x, expirationTime: 2030-01-01}]}",
    ),
    (
        POLICY,
        "{segment: {labels: [t]}, exceptions: [{rule: ExclusiveKeys, keys: [a], reason: x, expirationTime: '2030-01-01t00:00:00.5+01:00'}]}",
    ),
    (
        POLICY,
        "{segment: {labels: [t]}, exceptions: [{rule: ExclusiveKeys, keys: [a], reason: x, expirationTime: 2030-01-01T00:00:00Z}, {rule: ExclusiveKeys, keys: [b], reason: x, expirationTime: 2030-01-01T00:00:00Z}]}",
    ),
];

#[test]
fn offline_and_the_api_server_say_the_same() {
    let cluster = Cluster::shared();
    for name in ["scopedsecretstores", "scopedsecrets", "segmentationpolicies"] {
        let crd = format!("{}/crds/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        let _ = cluster.kubectl(&["apply", "-f", &crd]);
        let wait = ["wait", "--for=condition=Established", "--timeout=20s", "-f", &crd];
        assert!(cluster.kubectl(&wait).status.success(), "{name} is not established");
    }
    let folder = tempfile::tempdir().unwrap();
    let crds = Crds::default();
    let mut differences = Vec::new();
    for (kind, spec) in CORPUS {
        let text = format!(
            "apiVersion: scopedsecrets.io/v1alpha1\nkind: {kind}\nmetadata: {{name: x, namespace: default}}\nspec: {spec}\n"
        );
        let file = folder.path().join("object.yaml");
        std::fs::write(&file, &text).unwrap();
        let answer = cluster.kubectl(&["create", "--dry-run=server", "-f", file.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&answer.stderr);
        let node = compose(split(&text).unwrap()[0]).unwrap().unwrap();
        let offline: Vec<String> = crds.check(kind, &node).into_iter().map(|b| b.message).collect();
        // A field that is not known stops the API server before it asks the schema.
        let strict = said.contains("strict decoding error");
        let alike = |message: &String| said.contains(message) || (strict && !message.starts_with("unknown field"));
        if answer.status.success() != offline.is_empty() || !offline.iter().all(alike) {
            differences.push(format!("{spec}\n  API server: {said}\n  offline: {offline:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
