//! A cluster with the scene in it.

use super::caller::Caller;
use super::case::{Case, Step, Verdict};
use super::scene::Scene;
use crate::support::canary::CANARY;
use crate::support::cluster::Cluster;
use crate::support::foreign_kind;
use crate::support::operator::{Operator, install};
use crate::support::stub_manager::{Says, StubManager};
use crate::support::tenants::SOON;
use crate::support::wait::eventually;
use scoped_secrets::segmentation::replication::{SECRETGEN, SECRETGEN_KINDS};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::OnceLock;

pub fn scene() -> &'static Scene {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    SCENE.get_or_init(Scene::read)
}

/// A cluster of its own for one or more doors.
pub struct Bed {
    pub cluster: Cluster,
    pub caller: Caller<'static>,
    pub stub: StubManager,
}

impl Bed {
    /// `deploy/` and the scene, whose claims are projected once an operator runs. Every key that any case names has a value
    /// in the manager, so that nothing but the verdict keeps it from being fetched.
    pub fn start(cases: &[Case]) -> Self {
        let (cluster, stub) = (Cluster::start(), StubManager::start());
        install(&cluster);
        let caller = Caller::new(&cluster, scene());
        cluster.apply(include_str!("../other_operators/crds.yaml")).expect("the kinds of other operators");
        eventually("the kinds of other operators are served", SOON, || {
            let kinds = "externalsecrets,clusterexternalsecrets,pushsecrets,secretstores,vaultstaticsecrets,secretproviderclasses";
            cluster.submit(&["get", kinds, "-A"], "").map(drop)
        });
        for kind in SECRETGEN_KINDS {
            foreign_kind::install(&cluster, SECRETGEN, "v1alpha1", kind, "Namespaced");
        }
        for object in scene().deciding(&stub.endpoint).iter().chain(&scene().surroundings()) {
            caller.make(object);
        }
        let mut keys: BTreeSet<String> = scene().claims.values().map(|[key, _]| key.clone()).collect();
        keys.extend(cases.iter().flat_map(|case| case.first.iter().chain([&case.step])).flat_map(keys_of));
        for key in keys.iter().map(|key| by_name(key)) {
            let value = value_of(&key);
            let value = if key.ends_with("/document") { format!(r#"{{"password": "{value}"}}"#) } else { value };
            // Of another account it is asked by its ARN, and answers with its name.
            let says = match key.strip_prefix("arn:").and_then(|rest| rest.rsplit_once(":secret:")) {
                Some((_, tail)) => {
                    let name = tail.rsplit_once('-').map_or(tail, |(name, _)| name).to_owned();
                    Says::Another { name, arn: key.clone(), value }
                }
                None => Says::Text(value),
            };
            stub.put(&key, says);
        }
        Self { cluster, caller, stub }
    }

    /// Waits until admission looks at objects of other operators, which begins some time after their kinds are there.
    pub fn others_are_governed(&self, cases: &[Case]) {
        let refused = |case: &&Case| case.rule == "OtherOperators" && matches!(case.expect, Verdict::Refused(_));
        let case = cases.iter().find(refused).expect("a case");
        eventually("other operators are governed", SOON, || match self.caller.ask(&case.step, true) {
            answer if answer.is_ok() => Err(format!("{answer:?}")),
            _ => Ok(()),
        });
    }

    /// Starts an operator with these arguments, and waits until the scene's claims are projected.
    pub fn operator(&self, arguments: &[&str]) -> Operator {
        let operator = Operator::start_with(&self.cluster, arguments);
        eventually("the scene is projected", SOON, || {
            let claims = self.caller.list("ScopedSecret");
            let behind: Vec<String> = claims
                .iter()
                .filter(|claim| is_of_the_scene(claim) && !is_ready(claim))
                .map(|c| c["status"].to_string())
                .collect();
            if behind.is_empty() && claims.len() >= scene().claims.len() { Ok(()) } else { Err(behind.join("\n")) }
        });
        operator
    }
}

fn is_of_the_scene(claim: &Value) -> bool {
    let metadata = &claim["metadata"];
    let text = |field: &str| metadata[field].as_str().unwrap_or_default();
    scene().claims.contains_key(&format!("{}/{}", text("namespace"), text("name")))
}

/// Whether a claim is Ready, and its status of today.
pub fn is_ready(claim: &Value) -> bool {
    condition(claim, "Ready").is_some_and(|ready| ready["status"] == "True") && is_current(claim)
}

/// Whether the status speaks of the spec that stands.
pub fn is_current(claim: &Value) -> bool {
    claim["status"]["observedGeneration"] == claim["metadata"]["generation"]
}

pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == kind)
}

/// The remote keys that a request names.
pub fn keys_of(step: &Step) -> Vec<String> {
    let entries =
        ["data", "dataFrom"].into_iter().filter_map(|field| step.body.pointer(&format!("/spec/{field}"))?.as_array());
    entries.flatten().filter_map(|entry| entry["remoteRef"]["key"].as_str().map(str::to_owned)).collect()
}

/// What the manager has under a key.
pub fn value_of(key: &str) -> String {
    format!("{CANARY}kX9mQ2vL8nR5-of-{key}")
}

/// As the manager is asked: by name in the store's own account.
pub fn by_name(key: &str) -> String {
    let own = key.strip_prefix("arn:aws:secretsmanager:eu-west-1:123456789012:secret:");
    own.and_then(|tail| tail.rsplit_once('-')).map_or(key, |(name, _)| name).to_owned()
}
