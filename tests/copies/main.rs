//! The rule Copies on a real API server: who carries a projected value into another segment, by whatever verb and in whatever
//! form, is refused; everybody else feels nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod answers;
mod forms;
mod outage;
mod projections;
#[path = "../support/mod.rs"]
mod support;

use serde_json::{Value, json};
use std::cell::Cell;
use support::cluster::Cluster;
use support::operator::{Operator, install};
use support::stub_manager::{Says, StubManager};
use support::tenants::*;
use support::wait::eventually;

const VALUE: &str = "canary-orders-kX9#mQ2$vL8@nR5!wT3z";
const WEAK: &str = "canary-weak";

/// A cluster with an operator and the tenants; payments-prod holds `orders`, with VALUE and what is easy to guess.
struct Scene {
    operator: Option<Operator>,
    cluster: Cluster,
    stub: StubManager,
    users: Cell<u32>,
}

fn scene() -> Scene {
    let (cluster, stub) = (Cluster::start(), StubManager::start());
    install(&cluster);
    let operator = Operator::start(&cluster);
    set_up(&cluster, &stub.endpoint);
    apply(
        &cluster,
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: payments-prod-2, labels: {tenant: payments, environment: prod}}\n",
    );
    let scene = Scene { cluster, stub, operator: Some(operator), users: Cell::new(0) };
    let json = json!({"password": VALUE, "pin": WEAK, "username": "canary-orders-service-account"});
    scene.stub.put("payments/prod/orders", Says::Text(json.to_string()));
    apply(
        &scene.cluster,
        &scoped_secret("payments-prod", "orders", "dataFrom: [{remoteRef: {key: payments/prod/orders}}]"),
    );
    eventually("it is projected", SOON, || ready(&scene.cluster, "scopedsecret", Some("payments-prod"), "orders"));
    scene.comes_to(&Answer::Refused);
    scene
}

/// What comes of a copy.
#[derive(Debug, PartialEq)]
enum Answer {
    Refused,
    Warned,
    Passes,
}

impl Scene {
    fn operator(&self) -> &Operator {
        self.operator.as_ref().expect("it runs")
    }

    /// Runs kubectl as an admin of another name each time, so that nobody comes to the limit by chance.
    fn submit(&self, line: &str, stdin: &str) -> Result<String, String> {
        self.users.set(self.users.get() + 1);
        self.submit_as(&format!("admin-{}", self.users.get()), line, stdin)
    }

    fn submit_as(&self, user: &str, line: &str, stdin: &str) -> Result<String, String> {
        let mut arguments: Vec<&str> = line.split_whitespace().collect();
        arguments.extend(["--as", user, "--as-group", "system:masters"]);
        self.cluster.submit(&arguments, stdin)
    }

    /// Every row: what, a kubectl command line, its stdin, and whether the rule refuses it.
    fn hold(&self, rows: &[(&str, &str, String, bool)]) {
        let wrong: Vec<String> = rows
            .iter()
            .filter_map(|(what, line, stdin, refused)| {
                let told = self.submit(line, stdin);
                let right = if *refused { is_refusal(&told) } else { told.is_ok() };
                let expected = if *refused { "a refusal" } else { "to pass" };
                (!right).then(|| format!("{what}: expected {expected}, was told {told:?}"))
            })
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    }

    /// What comes of a copy in billing-prod, tried dry.
    fn answer(&self) -> Result<Answer, String> {
        let user = format!("prober-{}", self.users.replace(self.users.get() + 1));
        let file = self.cluster.dir.join("probe.json");
        std::fs::write(&file, config_map("probe", json!({"a": VALUE})).to_string()).unwrap();
        let file = file.to_str().unwrap();
        let out = self.cluster.kubectl(&[
            "create",
            "--dry-run=server",
            "-f",
            file,
            "--as",
            &user,
            "--as-group",
            "system:masters",
        ]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        let by_rule = said.contains("rule Copies, ValueCopied: ");
        match (out.status.success(), by_rule) {
            (false, true) => Ok(Answer::Refused),
            (true, true) if said.contains("Warning: ") => Ok(Answer::Warned),
            (true, false) if said.is_empty() => Ok(Answer::Passes),
            _ => Err(said),
        }
    }

    fn comes_to(&self, wanted: &Answer) {
        eventually(&format!("{wanted:?}"), SOON, || {
            let answer = self.answer();
            if answer.as_ref() == Ok(wanted) { Ok(()) } else { Err(format!("{answer:?}")) }
        });
    }
}

/// A refusal of this rule, that names nobody and shows nothing. What kubectl itself says before it quotes the user's own patch.
fn is_refusal(told: &Result<String, String>) -> bool {
    let told = told.as_ref().err().and_then(|text| text.split_once("rule Copies, ValueCopied: "));
    told.is_some_and(|(_, text)| {
        ["payments-prod", "payments/", "orders", &VALUE[..12]].iter().all(|part| !text.contains(part))
    })
}

const DRY: &str = "create --dry-run=server -f -";

fn object(kind: &str, namespace: &str, name: &str, more: Value) -> Value {
    let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}});
    object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    object
}

/// A ConfigMap of billing-prod.
fn config_map(name: &str, data: Value) -> Value {
    object("ConfigMap", "billing-prod", name, json!({"data": data}))
}
