//! Helm 4, whose --wait is kstatus.

use super::super::support::cluster::Cluster;
use super::super::support::service::ensure;
use super::simple;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A release of one claim, waited for; and how long that took.
fn install(cluster: &Cluster, name: &str) -> (Result<(), String>, Duration) {
    let chart = cluster.dir.join(format!("chart-{name}"));
    std::fs::create_dir_all(chart.join("templates")).unwrap();
    std::fs::write(chart.join("Chart.yaml"), format!("apiVersion: v2\nname: {name}\nversion: 1.0.0\n")).unwrap();
    std::fs::write(chart.join("templates/claim.yaml"), simple(name, "")).unwrap();
    let mut command = Command::new(ensure("helm4").join("helm"));
    for home in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(home, cluster.dir.join("helm"));
    }
    command.env("KUBECONFIG", &cluster.kubeconfig).stdin(Stdio::null());
    let began = Instant::now();
    let output = command
        .args(["install", name, "-n", "rich-prod", "--wait", "--timeout", "100s"])
        .arg(&chart)
        .output()
        .expect("helm was built");
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (if output.status.success() { Ok(()) } else { Err(told) }, began.elapsed())
}

/// With a limit of 100 s.
pub fn waits_for_what_is_good_and_not_for_what_is_refused(cluster: &Cluster) {
    let (good, _) = install(cluster, "charted");
    good.unwrap();
    // Admission takes it; that its Secret's name is somebody's is seen afterwards.
    let conflict =
        "apiVersion: v1\nkind: Secret\nmetadata: {name: elsewhere, namespace: rich-prod}\nstringData: {a: b}\n";
    cluster.apply(conflict).unwrap();
    let (bad, took) = install(cluster, "elsewhere");
    let said = bad.expect_err("a claim that cannot be kept");
    assert!(took < Duration::from_secs(50), "{took:?}: {said}");
    assert!(said.contains("ScopedSecret") && said.contains("elsewhere"), "{said}");
}
