//! The operator's account gets another name while policies are enforced, and the old one back: in a cluster, and in a list of namespaces;
//! not in the upgrade that goes from the one to the other.

use super::helm::{CHART, Version, online};
use super::support::cluster::Cluster;
use super::support::operator::Operator;
use super::support::oracle::all_is_well;
use super::support::stub_manager::{Says, StubManager};
use super::support::tenants::*;
use super::support::wait::eventually;

const LIST: &str = "payments-prod,billing-prod";

fn is_renamed(values: &str, flags: &[&str]) {
    let (cluster, stub) = (Cluster::start(), StubManager::start());
    for namespace in LIST.split(',') {
        cluster.submit(&["create", "namespace", namespace], "").unwrap();
    }
    let here = ["-n", "scoped-secrets", "--set", values];
    let install = [&["install", "scoped-secrets", CHART, "--create-namespace"][..], &here].concat();
    online(Version::Three, &cluster, &install).unwrap_or_else(|said| panic!("{said}"));
    let mut operator = Operator::start_with(&cluster, flags);
    set_up(&cluster, &stub.endpoint);
    serves(&cluster, &stub, "first");
    for (version, account) in [(Version::Three, "keeper"), (Version::Four, "scoped-secrets")] {
        // The old account goes on until its pods do.
        let excused = cluster.excuse_denials();
        let name = format!("serviceAccount.name={account}");
        let upgrade = [&["upgrade", "scoped-secrets", CHART, "--set", &name][..], &here].concat();
        online(version, &cluster, &upgrade).unwrap_or_else(|said| panic!("{account}: {said}"));
        operator.kill();
        drop(excused);
        operator = Operator::start_as(&cluster, "scoped-secrets", account, flags);
        eventually("it leads", SOON * 2, || operator.leads());
        serves(&cluster, &stub, &format!("by-{account}"));
    }
    all_is_well(&cluster, &operator);
    operator.terminate();
}

fn serves(cluster: &Cluster, stub: &StubManager, name: &str) {
    stub.put(&format!("payments/prod/{name}"), Says::Text(format!("canary-{name}-kX9mQ2vL8nR5wT3z")));
    let data = format!("data: [{{secretKey: value, remoteRef: {{key: payments/prod/{name}}}}}]\n");
    eventually("it may be claimed", SOON, || cluster.apply(&scoped_secret("payments-prod", name, &data)));
    eventually("it is projected", SOON, || ready(cluster, "scopedsecret", Some("payments-prod"), name));
}

#[test]
fn the_operators_account_gets_another_name() {
    is_renamed("restart.enabled=true", &[]);
}

#[test]
fn so_it_does_where_a_list_of_namespaces_is_served() {
    is_renamed(&format!("namespaces={{{LIST}}},restart.enabled=true"), &["--namespaces", LIST]);
}

/// The webhook of an operator that serves all would refuse what it cannot tell from a stranger's; no operator is needed to see that the
/// chart does so first.
#[test]
fn a_name_and_a_first_list_come_in_two_upgrades() {
    let cluster = Cluster::start();
    for namespace in LIST.split(',') {
        cluster.submit(&["create", "namespace", namespace], "").unwrap();
    }
    let step = |version: Version, command: &str, values: &str| {
        let sets = ["scoped-secrets", CHART, "-n", "scoped-secrets", "--create-namespace", "--set", values];
        online(version, &cluster, &[&[command][..], &sets].concat())
    };
    let bound =
        || cluster.get_json("clusterrolebinding", None, "scoped-secrets").unwrap()["subjects"][0]["name"].clone();
    let list = format!("namespaces={{{LIST}}}");
    let longer = format!("serviceAccount.name=other,{list}");
    step(Version::Three, "install", "restart.enabled=true").unwrap_or_else(|said| panic!("{said}"));
    for version in [Version::Three, Version::Four] {
        let refusal = step(version, "upgrade", &format!("{list},serviceAccount.name=keeper")).unwrap_err();
        let told = "with serviceAccount.name=scoped-secrets, then again with serviceAccount.name=keeper";
        assert!(refusal.contains(told), "{version:?}: {refusal}");
        assert_eq!(bound(), "scoped-secrets", "nothing is applied");
    }
    for (values, account) in [
        ("serviceAccount.name=keeper,restart.enabled=true", "keeper"),
        ("serviceAccount.name=keeper,namespaces={payments-prod}", "keeper"),
        (longer.as_str(), "other"),
        ("serviceAccount.name=scoped-secrets", "scoped-secrets"),
    ] {
        step(Version::Three, "upgrade", values).unwrap_or_else(|said| panic!("{values}: {said}"));
        assert_eq!(bound(), account, "{values}");
    }
    // What is not there runs no webhook.
    assert!(cluster.kubectl(&["delete", "deployment", "scoped-secrets", "-n", "scoped-secrets"]).status.success());
    let values = format!("{list},serviceAccount.name=keeper");
    step(Version::Three, "upgrade", &values).unwrap_or_else(|said| panic!("{said}"));
    assert_eq!(bound(), "keeper");
}
