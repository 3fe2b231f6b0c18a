//! The verbs that change something: shown first, refused in words, done and waited for; and the record that they leave.

use super::*;
use std::fs;

const TEAM: [&str; 2] = ["--as", "system:serviceaccount:payments-prod:orders"];
const NEW: &str = "canary-orders-tR7wQ4zN9cV2xK6mB1s";

/// Who may change ScopedSecrets, and no more.
const DEV: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: dev, namespace: payments-prod}
rules: [{apiGroups: [scopedsecrets.io], resources: [scopedsecrets], verbs: [get, list, patch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: dev, namespace: payments-prod}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: dev}
subjects: [{kind: User, name: dev, apiGroup: rbac.authorization.k8s.io}]
";

#[test]
fn a_change_is_shown_first_and_the_record_of_it_is_whole() {
    let scene = scene();
    let (cluster, stub) = (&scene.cluster, &scene.stub);
    let here = ["-n", "payments-prod"];
    let ask = |arguments: &[&str]| plugin(cluster, &[arguments, &here[..]].concat());

    // Nobody is asked where there is no terminal, and a dry run changes nothing.
    let shown = ask(&["refresh", "orders"]).says(2, &["what will happen", "used by", "pod web", "--yes"]);
    assert!(shown.out.contains("payments/prod/db at version"), "{}", shown.out);
    ask(&["refresh", "orders", "--dry-run"]).says(0, &["the API server would take it"]);
    let annotation = |key: &str| {
        let object = kubectl(cluster, &["get", "scopedsecret", "orders", "-n", "payments-prod", "-o", "json"]);
        let object: Value = serde_json::from_str(&object).unwrap();
        object["metadata"]["annotations"][key].as_str().map(str::to_owned)
    };
    assert_eq!(annotation("scopedsecrets.io/refresh-at"), None);

    // Done, and waited for: without and with a new value.
    ask(&["refresh", "orders", "--yes", "--wait"]).says(0, &["no newer version"]);
    stub.put("payments/prod/db", Says::Text(NEW.into()));
    let json = ask(&["refresh", "orders", "-y", "--wait", "-o", "json"]).says(0, &[]).json();
    assert_eq!((&json["end"], &json["verb"]), (&"Done".into(), &"refresh".into()));
    assert_eq!(secret_value(cluster, "payments-prod", "orders", "value").as_deref(), Some(NEW));
    assert!(annotation("scopedsecrets.io/refresh-at").is_some());

    // Refused in words.
    ask(&["refresh", "order", "-y"]).says(2, &["there is none; is \"orders\" meant?"]);
    ask(&["rotate", "orders", "-y"]).says(2, &["has no spec.rotation"]);
    let refused = plugin(cluster, &[&["refresh", "orders", "-y"][..], &here, &TEAM].concat());
    refused.says(2, &["you may not get scopedsecrets.scopedsecrets.io in namespace payments-prod"]);
    let key = ["revoke", "--key", "payments/prod/db", "--reason", "INC-1"];
    plugin(cluster, &[&key[..], &["--store", "awz"]].concat()).says(2, &["is \"aws\" meant?"]);

    let own = ask(&["revoke", "orders", "--reason", "INC-1", "--dry-run"]);
    own.says(0, &["payments/prod/db is revoked", "nobody else claims these keys", "the API server would take it"]);

    // Who may create no KeyRevocation asks by the annotation.
    apply(cluster, DEV);
    eventually("who may what is known", SOON, || {
        let ask = ["auth", "can-i", "patch", "scopedsecrets", "-n", "payments-prod", "--as", "dev"];
        cluster.submit(&ask, "").and_then(|may| if may.trim() == "yes" { Ok(()) } else { Err(may) })
    });
    let dev = [&["revoke", "orders", "--reason", "INC-1", "--dry-run", "--as", "dev"][..], &here].concat();
    plugin(cluster, &dev).says(
        0,
        &["by the annotation scopedsecrets.io/revoke", "taking the annotation off lifts nothing", "would take it"],
    );
    assert_eq!(annotation("scopedsecrets.io/revoke"), None);

    // A leak: the Secret goes; whoever asks again sees by what, and that it is over.
    let revoke = [&key[..], &["--store", "aws"]].concat();
    let revoked = plugin(cluster, &[&revoke[..], &["--yes", "--wait"]].concat());
    revoked.says(0, &["claimed by", "ScopedSecret payments-prod/orders", "nothing holds a revoked version any more"]);
    assert_eq!(secret_value(cluster, "payments-prod", "orders", "value"), None);
    let again = plugin(cluster, &[&revoke[..], &["--dry-run"]].concat());
    again.says(0, &["revoked by", "which is complete", "nothing was changed"]);

    // What was refused at admission is in the record, too.
    let stolen = scoped_secret("billing-prod", "stolen", &whole("payments/prod/db"));
    cluster.submit(&["create", "-f", "-"], &stolen).unwrap_err();
    the_record_is_whole(scene);
}

fn the_record_is_whole(scene: Scene) {
    let Scene { cluster, operator, .. } = scene;
    let cluster = &cluster;
    let is = |line: &str, parts: &[&str]| parts.iter().all(|part| line.contains(part));
    for parts in [
        &["\"what\":\"Revoked\"", "\"kind\":\"Secret\"", "\"name\":\"orders\"", "payments/prod/db", "KeyRevoked"][..],
        &["\"what\":\"KeyRevoked\"", "\"kind\":\"KeyRevocation\"", "payments/prod/db"],
        &[
            "\"what\":\"Denied\"",
            "\"name\":\"stolen\"",
            "\"rule\":\"Claims\"",
            "\"reason\":\"KeyNotAllowed\"",
            "\"by\":",
        ],
    ] {
        eventually("the record has it", SOON, || match operator.logged().lines().any(|line| is(line, parts)) {
            true => Ok(()),
            false => Err(format!("{parts:?}")),
        });
    }
    let log = operator.logged();
    let kept = cluster.dir.join("kept.log");
    let verify = |lines: &str| {
        fs::write(&kept, lines).unwrap();
        plugin(cluster, &["verify-log", kept.to_str().unwrap()])
    };
    verify(&log).says(0, &["clean", "genuine lines", "not found by this"]);
    let revoked = |line: &&str| is(line, &["\"what\":\"Revoked\""]);
    let without: Vec<&str> = log.lines().filter(|line| !revoked(line)).collect();
    verify(&without.join("\n")).says(1, &["RecordMissing"]);
    verify(&log.replace("\"what\":\"Revoked\"", "\"what\":\"Expired\"")).says(1, &["RecordAltered"]);
    let refused = plugin(cluster, &[&["verify-log", kept.to_str().unwrap()][..], &TEAM].concat());
    refused.says(2, &["you may not get the Secret scoped-secrets-keys", "--key-file"]);

    support::oracle::all_is_well(cluster, &operator);
    // One that was told to stop closes its record; the operator's own program says so, too.
    let log = operator.log.clone();
    operator.terminate();
    let own = Command::new(env!("CARGO_BIN_EXE_scoped-secrets"))
        .arg("verify-log")
        .arg(&log)
        .args(["--until", "2100-01-01T00:00:00Z"])
        .env("KUBECONFIG", &cluster.kubeconfig)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&own.stdout);
    assert!(own.status.success() && told.contains("and closed"), "{told}{}", String::from_utf8_lossy(&own.stderr));
}
