//! What the index costs: the design allows 40 MB at 10,000 ScopedSecrets, and counted in bytes it does not depend on the
//! machine.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use cap::Cap;
use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::PolicyRule;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use scoped_secrets::api::{SEAL_ANNOTATION, ScopedSecret};
use scoped_secrets::controller::index::{Index, secret_facts};
use scoped_secrets::segmentation::access::role::Role;
use scoped_secrets::segmentation::access::subject::Subject;
use scoped_secrets::segmentation::access::{Access, Binding, RbacName};
use scoped_secrets::segmentation::key::{CanonicalKey, Realm};
use scoped_secrets::segmentation::seal::{Generation, SealKeys, SealRecord};
use scoped_secrets::segmentation::world::{Holding, KeyVersion, ObjectName, StoreState};
use serde_json::json;
use std::alloc::System;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use support::cluster::Cluster;
use support::operator::{Operator, install};
use support::oracle::guarantees_hold;
use support::tenants::{POLICY, apply, scoped_secret};
use support::wait::eventually;

#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);
/// Who counts what is allocated counts it alone.
static COUNTING: Mutex<()> = Mutex::new(());

const COUNT: u32 = 10_000;
/// So many ScopedSecrets one kubectl creates, which has to end in time.
const AT_A_TIME: usize = 250;
/// For each ScopedSecret with its Secret, synced and at rest: of ten thousand, less than half of what the design allows the whole operator.
const BUDGET: usize = 1_830;

fn uid(kind: u8, i: u32) -> String {
    format!("{kind:02x}3b9ac9-4d1f-4c6e-9d2b-0000{i:08x}")
}

fn claim(i: u32) -> ScopedSecret {
    let (namespace, name) = (format!("tenant-{}-prod", i % 100), format!("orders-database-{i}"));
    let conditions = ["Ready", "Authorized", "Synced", "Unique"].map(|kind| {
        json!({
            "type": kind, "status": "True", "reason": "Ready", "message": "the Secret is there and current",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1
        })
    });
    serde_json::from_value(json!({
        "apiVersion": "scopedsecrets.io/v1alpha1", "kind": "ScopedSecret",
        "metadata": {
            "name": name, "namespace": namespace, "uid": uid(1, i), "generation": 1, "resourceVersion": format!("{}", 1_000_000 + i),
            "creationTimestamp": "2026-01-01T00:00:00Z"
        },
        "spec": {
            "storeRef": {"name": "aws-prod"}, "consumers": [{"serviceAccountName": "orders"}], "refreshInterval": "1h",
            "data": [{"secretKey": "password", "remoteRef": {"key": format!("tenant-{}/prod/orders-database-{i}", i % 100), "property": "password"}}]
        },
        "status": {
            "observedGeneration": 1, "segment": "tenant/prod", "binding": {"name": name},
            "secretRef": {"name": name, "uid": uid(2, i), "resourceVersion": format!("{}", 2_000_000 + i)},
            "remoteVersions": [{"key": format!("tenant-{}/prod/orders-database-{i}", i % 100), "versionId": uid(3, i)}],
            "lastChangeTime": "2026-01-01T00:00:00Z",
            "conditions": conditions
        }
    }))
    .expect("a ScopedSecret")
}

fn secret(i: u32, keys: &SealKeys) -> (ObjectName, ObjectMeta) {
    let name = ObjectName::new(&format!("tenant-{}-prod", i % 100), &format!("orders-database-{i}"));
    let key = format!("aws:123456789012:eu-west-1:tenant-{}/prod/orders-database-{i}", i % 100);
    let (fingerprints, marks) = keys.sealed_prints(&[keys.print(format!("kX9mQ2vL8nR5wT3z-{i:08}").as_bytes())]);
    let holding = Holding {
        claim: name.name.clone(),
        versions: [KeyVersion {
            key: CanonicalKey::from_sealed(&key),
            id: uid(3, i).into(),
            created: Some(Timestamp::UNIX_EPOCH.into()),
        }]
        .into(),
        held_since: Timestamp::UNIX_EPOCH,
        fingerprints,
        marks,
        retain: false,
        ends: None,
        consumed: true,
        pinned: false,
        target_type: None,
    };
    let record = SealRecord {
        holding: holding.into(),
        spec: keys.digest(b"spec"),
        content: keys.digest(&i.to_be_bytes()),
        ignore: keys.digest(b"ignore"),
        refresh_at: None,
        restart: None,
        rotation: None,
        followed: None,
    };
    let nonce = u128::from(i).to_be_bytes()[4..].try_into().expect("12 bytes");
    let metadata = ObjectMeta {
        name: Some(name.name.to_string()),
        namespace: Some(name.namespace.to_string()),
        uid: Some(uid(2, i)),
        resource_version: Some(format!("{}", 2_000_000 + i)),
        creation_timestamp: Some(Time(Timestamp::UNIX_EPOCH)),
        labels: Some([("app.kubernetes.io/managed-by".to_owned(), "scoped-secrets".to_owned())].into()),
        annotations: Some([(SEAL_ANNOTATION.to_owned(), keys.seal(&name, &record, nonce).expect("a seal"))].into()),
        owner_references: Some(vec![OwnerReference {
            api_version: "scopedsecrets.io/v1alpha1".into(),
            kind: "ScopedSecret".into(),
            name: name.name.to_string(),
            uid: uid(1, i),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]),
        ..ObjectMeta::default()
    };
    (name, metadata)
}

/// 10,000 are a matter of minutes, for `make test-long`.
fn scale() -> usize {
    std::env::var("SCALE").map_or(1_000, |text| text.parse().expect("SCALE is a number"))
}

/// What the design allows the operator.
const LIMIT: usize = 40 << 20;

#[test]
fn an_operator_stays_small() {
    // What it has in this process is counted by the others.
    let _alone = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = Cluster::start();
    install(&cluster);
    let files = tempfile::tempdir().expect("a folder");
    let (count, per_namespace) = (scale(), 100);
    let mut tenants = String::new();
    let mut claims = vec![String::new(); count.div_ceil(AT_A_TIME)];
    for i in 0..count {
        let tenant = format!("tenant-{}", i / per_namespace);
        let key = format!("{tenant}/prod/orders-database-{i}");
        if i % per_namespace == 0 {
            std::fs::create_dir_all(files.path().join(&tenant).join("prod")).expect("a folder");
            tenants.push_str(&format!(
                "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {tenant}-prod, labels: {{tenant: {tenant}, environment: prod}}}}\n"
            ));
        }
        let value = format!(r#"{{"username": "orders", "password": "canary-{i}-kX9mQ2vL8nR5wT3z"}}"#);
        std::fs::write(files.path().join(format!("{key}.json")), value).expect("a file");
        let spec = format!("data: [{{secretKey: password, remoteRef: {{key: {key}, property: password}}}}]");
        let yaml = scoped_secret(&format!("{tenant}-prod"), &format!("orders-database-{i}"), &spec);
        claims[i / AT_A_TIME].push_str(&format!("---\n{yaml}"));
    }
    apply(&cluster, &tenants);
    apply(&cluster, POLICY);
    apply(
        &cluster,
        &format!(
            "apiVersion: scopedsecrets.io/v1alpha1\nkind: ScopedSecretStore\nmetadata: {{name: aws}}\nspec: {{file: {{path: {}}}}}\n",
            files.path().display()
        ),
    );
    let operator = Operator::start(&cluster);
    println!("with none: {:.1} MB", operator.memory() as f64 / 1e6);
    let paths: Vec<_> = claims
        .iter()
        .enumerate()
        .map(|(i, yaml)| {
            let path = files.path().join(format!("claims-{i}.yaml"));
            std::fs::write(&path, yaml).expect("a file");
            path
        })
        .collect();
    std::thread::scope(|scope| {
        for paths in paths.chunks(paths.len().div_ceil(4)) {
            let cluster = &cluster;
            scope.spawn(move || {
                for path in paths {
                    let out = cluster.kubectl(&["create".as_ref(), "-f".as_ref(), path.as_os_str()]);
                    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
                }
            });
        }
    });
    let synced = |operator: &Operator| {
        eventually("all are ready", Duration::from_secs(600), || {
            let metrics = operator.probe("/metrics")?;
            let line = metrics.lines().find(|l| l.starts_with("scoped_secrets_claims{") && l.contains("\"Ready\""));
            let ready = line.and_then(|l| l.rsplit(' ').next()?.parse::<usize>().ok());
            if ready == Some(count) { Ok(()) } else { Err(format!("{line:?} of {count}")) }
        });
        // Connections of the burst are closed by the API server when they have been idle for 90 s.
        eventually("the operator is small", Duration::from_secs(150), || match operator.memory() {
            memory if memory <= LIMIT => Ok(memory),
            memory => Err(format!("{memory} bytes for {count}")),
        })
    };
    let first = synced(&operator);
    println!("first sync of {count}: {:.1} MB", first as f64 / 1e6);
    assert!(operator.terminate().as_secs() < 10);
    let operator = Operator::start(&cluster);
    let restarted = synced(&operator);
    println!("after a restart: {:.1} MB", restarted as f64 / 1e6);
    guarantees_hold(&cluster);
}

#[test]
fn an_index_of_ten_thousand_fits_its_budget() {
    let _alone = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    let keys = SealKeys::new(Generation::from_random(&[7; 36], Timestamp::UNIX_EPOCH).expect("a key"));
    let mut index = Index::default();
    index.put_store(
        "aws-prod",
        Some(StoreState::Known(Realm::Aws { account: "123456789012".into(), region: "eu-west-1".into() })),
    );
    let before = HEAP.allocated();
    for i in 0..COUNT {
        index.put_claim(&claim(i));
    }
    println!("claims: {} bytes each", (HEAP.allocated() - before) / COUNT as usize);
    for i in 0..COUNT {
        let (name, metadata) = secret(i, &keys);
        index.put_secret(name.clone(), secret_facts(&name, &metadata, &keys));
    }
    let each = (HEAP.allocated() - before) / COUNT as usize;
    println!("with Secrets: {each} bytes each");
    assert!(each <= BUDGET, "{each} bytes each");
}

/// A cluster's own roles and bindings, of which hardly any leads across a boundary.
#[test]
fn ten_thousand_roles_and_bindings_stay_small() {
    let _alone = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut access = Access::default();
    let rule = |verb: &str, resource: &str| PolicyRule {
        api_groups: Some(vec![String::new()]),
        resources: Some(vec![resource.to_owned()]),
        verbs: vec![verb.to_owned()],
        ..PolicyRule::default()
    };
    let before = HEAP.allocated();
    for i in 0..COUNT {
        let (namespace, name) = (format!("tenant-{}-prod", i % 100), format!("orders-database-{i}"));
        let rules = [rule("get", "configmaps"), rule(if i % 10 == 0 { "get" } else { "create" }, "secrets")];
        access.put_role(RbacName::new(Some(&namespace), &name), Role::of(&rules));
        let own = Subject::Account(ObjectName::new(&namespace, "orders"));
        let other = Subject::Account(ObjectName::new("monitoring", "prometheus"));
        let subjects = if i % 10 == 0 { vec![own, other] } else { vec![own] };
        let role = RbacName::new(Some(&namespace), &name);
        access.put_binding(RbacName::new(Some(&namespace), &name), Binding { role, subjects: subjects.into() });
    }
    let each = (HEAP.allocated() - before) / COUNT as usize;
    println!("a role and its binding: {each} bytes");
    assert!(each <= 400, "{each} bytes each");
    assert_eq!(access.bindings(false).count(), COUNT as usize / 10);
}
