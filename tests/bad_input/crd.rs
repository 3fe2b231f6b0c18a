//! The CRDs' own rules: one refused object each, and a message that says what to write instead.

use crate::bed::{Case, bed, whole};

fn object(kind: &str, name: &str, spec: &str) -> String {
    let namespace = if kind == "ScopedSecret" { ", namespace: default" } else { "" };
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!("apiVersion: scopedsecrets.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}{namespace}}}\nspec:\n{spec}")
}

#[test]
fn stores() {
    for (spec, says) in [
        ("{}", "write exactly one provider block: aws or file"),
        ("{aws: {region: eu-west-1}, file: {path: /etc/secrets}}", "write exactly one provider block: aws or file"),
        ("{aws: {region: eu-west-1, endpoint: \"not a url\"}}", "endpoint is a URL: https://HOST[:PORT]"),
        ("{aws: {region: eu-west-1, endpoint: \"ftp://x\"}}", "endpoint is a URL: https://HOST[:PORT]"),
        (
            "{aws: {region: eu-west-1, auth: {secretRef: {name: a}, assumeRole: {roleArn: \"arn:aws:iam::123456789012:role/x\"}}}}",
            "write secretRef or assumeRole, not both",
        ),
        ("{aws: {region: eu-west-1, auth: {assumeRole: {roleArn: x}}}}", "roleArn is arn:aws:iam::ACCOUNT:role/NAME"),
        ("{aws: {region: eu-west-1, accountId: \"123\"}}", "accountId"),
        ("{aws: {region: Europe}}", "region"),
        ("{file: {path: etc/secrets}}", "path is absolute and has no empty part, '.' or '..'"),
        ("{file: {path: /etc/../proc}}", "path is absolute and has no empty part, '.' or '..'"),
        ("{file: {path: /var/run/secrets/x}}", "path must not be a token, proc, sys or dev directory"),
        ("{file: {path: /proc/1}}", "path must not be a token, proc, sys or dev directory"),
    ] {
        bed().refuses(&object("ScopedSecretStore", "refused", spec), &[says]);
    }
}

const POLICY: &str = "segment: {labels: [tenant, environment]}\n";

#[test]
fn policies() {
    let with = |more: &str| object("SegmentationPolicy", "refused", &format!("{POLICY}{more}"));
    let keys = |pattern: &str| with(&format!("allow: [{{storeRef: {{name: aws}}, keys: ['{pattern}']}}]"));
    let (whole_part, label) = (
        "wildcards and placeholders fill a whole part",
        "must name one of segment.labels, or kubernetes.io/metadata.name: other labels can be set by anybody",
    );
    for (yaml, says) in [
        (keys("a/x-${namespace}"), whole_part),
        (keys("a/${namespace}x/b"), whole_part),
        (keys("a/b*"), whole_part),
        (keys("a/**/b"), whole_part),
        (keys("a//b"), whole_part),
        (keys("a/"), whole_part),
        (keys("a/${tenant}"), whole_part),
        (keys("a/%2f"), whole_part),
        (keys("a/../b"), "a key pattern has no part '.' or '..'"),
        (keys("a/${label:team}/**"), label),
        (
            with("namespaceSelector: {matchLabels: {team: x}}"),
            "namespaceSelector may use only the labels in segment.labels",
        ),
        (
            with("namespaceSelector: {matchExpressions: [{key: team, operator: Exists}]}"),
            "namespaceSelector may use only the labels in segment.labels",
        ),
        (
            with("namespaceSelector: {matchExpressions: [{key: tenant, operator: In}]}"),
            "In and NotIn need values; Exists and DoesNotExist take none",
        ),
        (
            with("namespaceSelector: {matchExpressions: [{key: tenant, operator: NotIn, values: [\"a b\"]}]}"),
            "no label can have this value: write at most 63 letters, digits",
        ),
        (with("namespaceSelector: {matchLabels: {tenant: -a}}"), "no label can have this value"),
        (
            object("SegmentationPolicy", "refused", &format!("segment: {{labels: [{}/a]}}", "a".repeat(254))),
            "what is before the slash of a label's key has at most 253 characters",
        ),
        (
            with("exceptions: [{rule: UniqueValues, reason: x, expirationTime: \"2030-01-01T00:00:00Z\"}]"),
            "exactly one non-empty list of keys, namespaces or subjects",
        ),
        (
            with("exceptions: [{rule: Allow, namespaces: [a], reason: x, expirationTime: \"2030-01-01T00:00:00Z\"}]"),
            "ExclusiveKeys",
        ),
        (with("mode: \"Off\""), "Enforce"),
        (with("rules: {maxAge: 0s}"), "maxAge is between 1s and 3650d"),
        (with("rules: {maxAge: quarterly}"), "maxAge is written in Go's form"),
        (object("SegmentationPolicy", "refused", "segment: {labels: []}"), "segment.labels"),
    ] {
        bed().refuses(&yaml, &[says]);
    }
}

#[test]
fn scoped_secrets() {
    let with = |spec: &str| object("ScopedSecret", "refused", &format!("storeRef: {{name: aws}}\n{spec}"));
    let item = |key: &str| format!("data: [{{secretKey: \"{key}\", remoteRef: {{key: a/b}}}}]");
    let one = item("a");
    let also = |more: &str| with(&format!("{one}\n{more}"));
    let pinned = "a pinned version does not rotate: remove versionId and versionStage, or rotation";
    let (syntax, interval) = (
        "secretKey is a key of a Secret",
        "refreshInterval is 0s (only on change or on demand) or between 1s and 365d",
    );
    for (yaml, says) in [
        (with("consumers: []"), "nothing is claimed: write at least one entry in data"),
        (with("data: []\ndataFrom: []"), "nothing is claimed: write at least one entry in data"),
        (with(&item("a/b")), syntax),
        (with(&item("å")), syntax),
        (with(&item(".")), syntax),
        (with(&item("..a")), syntax),
        (with(&item("previous.a")), "secretKeys that start with 'previous.' are reserved"),
        (
            with("data: [{secretKey: a, remoteRef: {key: a/b}}, {secretKey: a, remoteRef: {key: a/c}}]"),
            "Duplicate value",
        ),
        (
            with("data: [{secretKey: a, remoteRef: {key: a/b, versionStage: X, versionId: v1}}]"),
            "write versionStage or versionId, not both",
        ),
        (
            with("dataFrom: [{remoteRef: {key: a/b, versionStage: X, versionId: v1}}]"),
            "write versionStage or versionId, not both",
        ),
        (with("data: [{secretKey: a, remoteRef: {key: a/*}}]"), "no wildcard, no empty part"),
        (with("data: [{secretKey: a, remoteRef: {key: a/b, versionId: v1}}]\nrotation: {strategy: Provider}"), pinned),
        (
            with(
                "data: [{secretKey: a, remoteRef: {key: a/b, versionStage: AWSPREVIOUS}}]\nrotation: {strategy: Generate}",
            ),
            pinned,
        ),
        (with("dataFrom: [{remoteRef: {key: a/b, versionId: v1}}]\nrotation: {strategy: Provider}"), pinned),
        (also("refreshInterval: 500ms"), interval),
        (also("refreshInterval: 366d"), interval),
        (also("refreshInterval: 8761h"), interval),
        (also("refreshInterval: 1d12h"), "refreshInterval"),
        (also("refreshInterval: hourly"), "refreshInterval"),
        (also("target: {type: kubernetes.io/service-account-token}"), "this type is the cluster's own"),
        (also("target: {type: bootstrap.kubernetes.io/token}"), "this type is the cluster's own"),
        (also("target: {name: Upper}"), "target.name"),
        (also("deletionPolicy: Keep"), "Retain"),
        (also("restart: Pods"), "Consumers"),
        (also("restart: Consumers"), "restart: Consumers has nobody to restart: list the ServiceAccounts in consumers"),
        (
            also("restart: Consumers\nconsumers: [{serviceAccountName: a}]\ntarget: {immutable: true}"),
            "an immutable Secret never gets a new value",
        ),
    ] {
        bed().refuses(&yaml, &[says]);
    }
}

#[test]
fn the_target_name_is_immutable() {
    let case = Case::new("immutable-name");
    let says = "target.name is immutable: workloads refer to it";
    case.projected("db", "canary-immutable-name-kX9mQ2vL8nR");
    case.bed.refuses(&case.yaml("db", &format!("{}\ntarget: {{name: other}}", whole("db"))), &[says]);
    case.text("named", "canary-immutable-name-2-kX9mQ2vL8");
    case.claim("named", &format!("{}\ntarget: {{name: first}}", whole("named")));
    case.is_ready("named");
    case.bed.refuses(&case.yaml("named", &format!("{}\ntarget: {{name: second}}", whole("named"))), &[says]);
    case.bed.refuses(&case.yaml("named", &format!("{}\ntarget: {{type: Opaque}}", whole("named"))), &[says]);
    let out = case.bed.cluster.kubectl(&[
        "patch",
        "scopedsecret",
        "named",
        "-n",
        case.name,
        "--type=json",
        "-p",
        r#"[{"op":"remove","path":"/spec/target"}]"#,
    ]);
    let refusal = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && (refusal.contains(says)), "{refusal}");
    case.is_ready("named");
}
