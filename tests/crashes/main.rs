//! Killed before and after every write of every flow, the operator converges to the same end: nothing half done, nothing
//! done twice, and the guarantees true.
//!
//! A flow is run once to the end, to count its writes, and then once for each side of each write: the operator dies there,
//! another one starts, and what stands must be what the undisturbed run left. Where nothing that is shared is written, many
//! are stopped at a write each, and the operator dies once for all of them (`many`).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod annotated;
mod many;
mod restored;
#[path = "../support/mod.rs"]
mod support;

use serde_json::Value;
use std::time::Duration;
use support::canary;
use support::cluster::Cluster;
use support::inside::{Clock, Gate, Moment, NthWrite, TURNS, is_owed, settles};
use support::operator::{Operator, install};
use support::oracle::guarantees_hold_at;
use support::stub_manager::{Says, StubManager};
use support::tenants::*;
use support::wait::eventually;

const NAMESPACE: &str = "payments-prod";

/// What happens to one ScopedSecret, whose name is free in each run.
struct Flow {
    /// For messages, and to name what it is about.
    name: &'static str,
    /// Before anything may break.
    begin: fn(&Scene, &str),
    /// What the operator is to answer.
    trigger: fn(&Scene, &str),
    /// Whether the end is reached.
    ended: fn(&Scene, &str) -> Result<(), String>,
}

const FLOWS: [Flow; 3] = [
    Flow {
        name: "project",
        begin: |scene, name| scene.stores(name),
        trigger: |scene, name| scene.claims(name, ""),
        ended: |scene, name| {
            scene.is_projected(name)?;
            // Asked for once; once more by whoever came after a crash.
            (scene.stub.asked(&key(name)) <= 2).then_some(()).ok_or_else(|| "asked for again and again".to_owned())
        },
    },
    Flow {
        name: "revoke",
        begin: |scene, name| {
            scene.stores(name);
            scene.claims(name, "");
            eventually("it is projected", SOON, || scene.is_projected(name));
        },
        trigger: |scene, name| scene.revokes(name),
        ended: |scene, name| {
            scene.is_gone(name)?;
            scene.says(name, "Authorized", "False", "KeyRevoked")?;
            scene.is_complete(name)
        },
    },
    annotated::FLOW,
];

#[test]
fn every_flow_survives_a_crash_at_every_write() {
    let mut scene = Scene::set_up();
    for flow in &FLOWS {
        let writes = scene.undisturbed(flow);
        println!("{}: {writes:#?}", flow.name);
        let mut died = Vec::new();
        for turn in 0..TURNS {
            for (number, moment) in moments(writes.len()) {
                if turn == 0 || is_owed(&writes[number], moment, &died) {
                    let sought = Some(&writes[number]).filter(|_| turn > 0);
                    let write = scene.killed_at(flow, turn, number, sought, moment);
                    died.extend(write.map(|write| (write, moment)));
                }
            }
        }
        let missed: Vec<_> =
            moments(writes.len()).filter(|(number, at)| is_owed(&writes[*number], *at, &died)).collect();
        assert!(missed.is_empty(), "{}: never killed at {missed:?} of {writes:#?}, but at {died:#?}", flow.name);
    }
    annotated::stripped_meanwhile(&mut scene);
    annotated::lifted_while_it_stands(&mut scene);
    annotated::made_anew(&mut scene);
    annotated::others_lose_it(&mut scene);
    let gate = scene.restart();
    settles(&gate);
    assert!(gate.count_of("secrets") == 0, "one more start writes no Secret: {:?}", gate.writes());
    guarantees_hold_at(&scene.cluster, || scene.clock.now());
    canary::scan(&scene.cluster, scene.operator.as_ref().unwrap(), &[canary::CANARY]);
}

/// Both sides of each write.
fn moments(writes: usize) -> impl Iterator<Item = (usize, Moment)> {
    (0..writes).flat_map(|number| [(number, Moment::Before), (number, Moment::After)])
}

struct Scene {
    operator: Option<Operator>,
    cluster: Cluster,
    stub: StubManager,
    clock: Clock,
    gate: Gate,
}

fn key(name: &str) -> String {
    format!("payments/prod/{name}")
}

impl Scene {
    fn set_up() -> Self {
        let (cluster, stub) = (Cluster::start(), StubManager::start());
        install(&cluster);
        let mut scene = Self { cluster, stub, clock: Clock::default(), operator: None, gate: Gate::default() };
        scene.restart();
        set_up_inside(&scene.cluster, &scene.stub.endpoint);
        scene
    }

    /// Kills the operator, if it lives, and starts another; its gate.
    fn restart(&mut self) -> Gate {
        self.operator.take().into_iter().for_each(Operator::kill);
        self.gate = Gate::default();
        self.stub.passes(&self.gate);
        self.operator = Some(Operator::inside(&self.cluster, &self.clock, &self.gate));
        self.gate.clone()
    }

    /// The flow's writes.
    fn undisturbed(&mut self, flow: &Flow) -> Vec<NthWrite> {
        let (gate, name) = (self.restart(), format!("{}-undisturbed", flow.name));
        (flow.begin)(self, &name);
        settles(&gate);
        gate.count();
        (flow.trigger)(self, &name);
        self.ends(flow, &name, "undisturbed");
        settles(&gate);
        gate.nth_writes(&name)
    }

    /// The operator that the last crash left begins; the next one ends. The write at which it was killed, if it was: writes are
    /// not always as many. It is the one of this number, or the one that is sought.
    fn killed_at(
        &mut self,
        flow: &Flow,
        turn: usize,
        number: usize,
        sought: Option<&NthWrite>,
        moment: Moment,
    ) -> Option<NthWrite> {
        let what = format!("{moment:?} write {number} of {}", flow.name);
        let name = format!("{}-{turn}-{number}-{}", flow.name, format!("{moment:?}").to_lowercase());
        let gate = self.gate.clone();
        (flow.begin)(self, &name);
        settles(&gate);
        match sought {
            Some(write) => gate.arm_at(&name, write, moment),
            None => gate.arm(number, moment),
        }
        (flow.trigger)(self, &name);
        // Writes are not always as many: a status may tell two things at once.
        let is_killed = gate.dies_within(Duration::from_secs(30));
        if !is_killed {
            println!("{what}: never came: {:?}", gate.writes());
        }
        let write = match sought {
            Some(write) => Some(write.clone()),
            None => gate.nth_writes(&name).into_iter().nth(number),
        };
        let write = write.filter(|_| is_killed);
        self.restart();
        self.ends(flow, &name, &what);
        guarantees_hold_at(&self.cluster, || self.clock.now());
        write
    }

    fn ends(&self, flow: &Flow, name: &str, what: &str) {
        eventually(&format!("{what}: it ends"), SOON, || (flow.ended)(self, name));
    }

    fn stores(&self, name: &str) {
        self.stub.put(&key(name), Says::Text(format!("canary-{name}-kX9mQ2vL8nR5wT3z")));
    }

    fn claims(&self, name: &str, more: &str) {
        let spec = format!("data: [{{secretKey: value, remoteRef: {{key: {}}}}}]\n{more}", key(name));
        apply(&self.cluster, &scoped_secret(NAMESPACE, name, &spec));
    }

    /// Revoked is what the manager made up to the second in which this is created.
    fn revokes(&self, name: &str) {
        apply(
            &self.cluster,
            &format!(
                "apiVersion: scopedsecrets.io/v1alpha1\nkind: KeyRevocation\nmetadata: {{name: {name}}}\nspec: {{storeRef: {{name: aws}}, key: {}, reason: seen in a build log}}\n",
                key(name)
            ),
        );
    }

    fn is_complete(&self, name: &str) -> Result<(), String> {
        let revocation = self.cluster.get_json("keyrevocation", None, name).ok_or("it is gone")?;
        let complete = condition(&revocation, "Complete").is_some_and(|c| c["status"] == "True");
        complete.then_some(()).ok_or_else(|| revocation["status"].to_string())
    }

    fn is_projected(&self, name: &str) -> Result<(), String> {
        let object = ready(&self.cluster, "scopedsecret", Some(NAMESPACE), name)?;
        let secret = self.secret(name).ok_or("there is no Secret")?;
        let same = object["status"]["secretRef"]["resourceVersion"] == secret["metadata"]["resourceVersion"];
        same.then_some(()).ok_or_else(|| "status speaks of another revision".to_owned())
    }

    fn is_gone(&self, name: &str) -> Result<(), String> {
        self.secret(name).map_or(Ok(()), |_| Err("the Secret stands".to_owned()))
    }

    fn says(&self, name: &str, kind: &str, status: &str, reason: &str) -> Result<(), String> {
        let object = self.cluster.get_json("scopedsecret", NAMESPACE, name).ok_or("not there")?;
        let right = condition(&object, kind).is_some_and(|c| c["status"] == status && c["reason"] == reason);
        right.then_some(()).ok_or_else(|| object["status"].to_string())
    }

    fn secret(&self, name: &str) -> Option<Value> {
        self.cluster.get_json("secret", NAMESPACE, name)
    }
}
