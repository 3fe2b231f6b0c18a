//! Rotations, for whatever they are due, the debt of a grant, and an end: many at once, each stopped before or after one of its
//! own writes, to the API server or to the manager. Then the operator dies, and another one brings all of them to their end.

use crate::support::canary;
use crate::support::inside::{Moment, NthWrite, settles};
use crate::support::operator::{all_recorded, count_recorded};
use crate::support::oracle::guarantees_hold_at;
use crate::support::stub_manager::{Lambda, Says};
use crate::support::tenants::*;
use crate::support::wait::eventually;
use crate::{NAMESPACE, Scene, key};
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// What happens to a ScopedSecret, and when.
struct Fate {
    name: &'static str,
    /// Lines of its spec.
    spec: &'static str,
    /// Something beside it that is there from the start, in HOURS from now.
    beside: &'static str,
    /// Whether it is asked for; else it comes with time.
    is_asked: bool,
    rotates: bool,
}

const FATES: [Fate; 5] = [
    Fate {
        name: "asked",
        spec: "rotation: {strategy: Generate, overlap: 99h}\n",
        beside: "",
        is_asked: true,
        rotates: true,
    },
    Fate { name: "managed", spec: "rotation: {strategy: Provider}\n", beside: "", is_asked: true, rotates: true },
    Fate {
        name: "slot",
        spec: "rotation: {strategy: Generate, schedule: \"0 HOUR * * *\"}\n",
        beside: "",
        is_asked: false,
        rotates: true,
    },
    Fate {
        name: "debt",
        spec: "rotation: {strategy: Generate}\n",
        beside: "apiVersion: scopedsecrets.io/v1alpha1\nkind: SecretGrant\nmetadata: {name: NAME, namespace: payments-prod}\nspec: {scopedSecretRef: {name: NAME}, subject: {kind: User, name: ada@example.com}, ttl: HOURSh, reason: INC-1, rotateAfter: true}\n",
        is_asked: false,
        rotates: true,
    },
    Fate { name: "ends", spec: "ttl: HOURSh\n", beside: "", is_asked: false, rotates: false },
];

/// Past the one slot of the day, which comes in half of it, jitter included.
const AHEAD: SignedDuration = SignedDuration::from_hours(14);

/// One of them, and where it stops.
type Case = (&'static Fate, String, Option<(NthWrite, Moment)>);

#[test]
fn each_of_many_dies_at_a_write_of_its_own() {
    let scene = &mut Scene::set_up();
    let policy = format!("{POLICY}    actions: [Read, Rotate, Generate]\n  rules: {{grants: {{maxTTL: 999h}}}}\n");
    apply(&scene.cluster, &policy);
    scene.restart();
    let whole: Vec<Case> = FATES.iter().map(|fate| (fate, format!("{}-whole", fate.name), None)).collect();
    scene.befalls(&whole);
    eventually("undisturbed: all end", SOON, || scene.have_ended(&whole));
    settles(&scene.gate);
    scene.are_recorded(&whole, |count| count == 1);
    let mut cases: Vec<Case> = Vec::new();
    for (fate, name, _) in &whole {
        let writes = scene.gate.writes_of(name);
        println!("{}: {writes:#?}", fate.name);
        assert!(writes.len() >= 3, "{writes:?}");
        for (number, write) in writes.into_iter().enumerate() {
            cases.extend([Moment::Before, Moment::After].map(|moment| {
                let case = format!("{}-{number}-{}", fate.name, format!("{moment:?}").to_lowercase());
                (*fate, case, Some((write.clone(), moment)))
            }));
        }
    }
    // Slots count from a creation, which is by the API server's clock.
    scene.clock.advance(-AHEAD);
    scene.restart();
    scene.befalls(&cases);
    let have_stopped = |fates: &[&str]| {
        let going = scene.gate.going_on();
        let is_asked_of = |name: &str| fates.iter().any(|fate| name.starts_with(fate));
        let late: Vec<_> = going.iter().filter(|(name, write)| is_asked_of(name) && !may_be_left_out(write)).collect();
        let (claims, ..) = scene.all();
        let standing = |name: &str| claims.get(name).map(|claim| claim["status"].to_string());
        let told = || late.iter().map(|(name, write)| format!("{name} {write:?}: {:?}", standing(name)));
        late.is_empty().then_some(()).ok_or_else(|| told().collect::<Vec<_>>().join("\n"))
    };
    eventually("each stops where it is to", SOON * 3, || have_stopped(&["asked", "managed", "debt", "ends"]));
    // Whoever lost the lease for a moment on a busy machine takes a slot for one that was missed: it comes within an hour.
    if have_stopped(&["slot"]).is_err() {
        scene.clock.advance(SignedDuration::from_mins(61));
    }
    eventually("so does each slot", SOON * 3, || have_stopped(&["slot"]));
    settles(&scene.gate);
    println!("{} died, these had less to tell: {:?}", cases.len(), scene.gate.going_on());
    scene.restart();
    // Slots that were missed meanwhile come by their jitter, from when it leads.
    eventually("it leads", SOON, || scene.operator.as_ref().expect("it runs").leads());
    settles(&scene.gate);
    scene.clock.advance(SignedDuration::from_mins(61));
    settles(&scene.gate);
    // Whoever loses the lease for a moment takes an hour that was skipped for one without a leader.
    scene.clock.advance(SignedDuration::from_mins(61));
    eventually("all end", SOON * 3, || scene.have_ended(&cases));
    // Whoever comes after a crash cannot know whether the one before came to say so.
    scene.are_recorded(&cases, |count| (1..=2).contains(&count));
    guarantees_hold_at(&scene.cluster, || scene.clock.now());
    canary::scan(&scene.cluster, scene.operator.as_ref().unwrap(), &[canary::CANARY]);
}

impl Scene {
    /// They are there and at rest, and then it happens.
    fn befalls(&self, cases: &[Case]) {
        let hours = (self.clock.moved().as_hours() + 2).to_string();
        let hour = self.clock.now().to_zoned(TimeZone::UTC).hour().wrapping_add(12) % 24;
        let mut yaml = String::new();
        for (fate, name, _) in cases {
            self.stores(name);
            if fate.name == "managed" {
                let new = format!("canary-{name}-made-kX9mQ2vL8nR5wT3z");
                self.stub.rotates(&key(name), Lambda::Succeeds(Duration::from_millis(300), new));
            }
            let spec = format!("data: [{{secretKey: value, remoteRef: {{key: {}}}}}]\n{}", key(name), fate.spec);
            let documents = [scoped_secret(NAMESPACE, name, &spec), fate.beside.replace("NAME", name)];
            for document in documents.iter().filter(|document| !document.is_empty()) {
                yaml += &format!("---\n{}", document.replace("HOURS", &hours).replace("HOUR", &hour.to_string()));
            }
        }
        eventually("they may be claimed", SOON, || self.cluster.apply(&yaml));
        eventually("they are at rest", SOON * 2, || {
            let (claims, _, bindings) = self.all();
            let late = cases.iter().find(|(fate, name, _)| {
                let is = |kind: &str, reason: &str| says(&claims, name, kind) == ("True", reason);
                let lent = fate.beside.is_empty() || bindings.iter().any(|binding| binding.contains(&**name));
                !is("Ready", "Ready") || (fate.rotates && !is("Rotated", "RotationIdle")) || !lent
            });
            late.map_or(Ok(()), |(_, name, _)| Err(format!("{name}: {:?}", claims.get(name))))
        });
        settles(&self.gate);
        self.gate.stop_each(cases.iter().map(|(_, name, at)| (name.clone(), at.clone())));
        let asked = cases.iter().filter(|(fate, ..)| fate.is_asked).map(|(_, name, _)| &**name);
        let words = ["annotate", "-n", NAMESPACE, "scopedsecret"].into_iter().chain(asked);
        let words: Vec<&str> = words.chain(["scopedsecrets.io/rotate-at=now"]).collect();
        self.cluster.submit(&words, "").unwrap();
        self.clock.advance(AHEAD);
    }

    /// What happened to each is on the record, so many times.
    fn are_recorded(&self, cases: &[Case], is_right: impl Fn(usize) -> bool) {
        let record = all_recorded(&self.cluster);
        let wrong: Vec<_> = cases
            .iter()
            .flat_map(|(fate, name, _)| {
                let all: &[&str] = match (fate.rotates, fate.beside) {
                    (false, _) => &["Expired"],
                    (true, "") => &["Rotated"],
                    (true, _) => &["Granted", "GrantEnded", "Rotated"],
                };
                all.iter().map(move |what| (name, *what))
            })
            .map(|(name, what)| (name, what, count_recorded(&record, what, name)))
            .filter(|(.., count)| !is_right(*count))
            .collect();
        assert!(wrong.is_empty(), "on the record: {wrong:?}");
    }

    /// ScopedSecrets and Secrets by name, and what is lent.
    fn all(&self) -> (BTreeMap<String, Value>, BTreeMap<String, Value>, Vec<String>) {
        let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let named = |kind: &str| self.cluster.list_json(kind, "").into_iter().map(|o| (name(&o), o)).collect();
        let lent = |kind: &str| {
            let ours = "?labelSelector=app.kubernetes.io/managed-by=scoped-secrets";
            self.cluster.list_json(kind, ours).iter().map(name).collect::<Vec<_>>()
        };
        (named("scopedsecrets"), named("secrets"), [lent("roles"), lent("rolebindings")].concat())
    }

    fn have_ended(&self, cases: &[Case]) -> Result<(), String> {
        let (claims, secrets, lent) = self.all();
        for (fate, name, _) in cases {
            let told = || format!("{name}: {:?} {:?}", claims.get(name), self.stub.versions(&key(name)));
            if !fate.rotates {
                let gone = !secrets.contains_key(name) && says(&claims, name, "Expired") == ("True", "Expired");
                gone.then_some(()).ok_or_else(told)?;
                continue;
            }
            let versions = self.stub.versions(&key(name));
            let at = |stage: &str| versions.iter().find(|version| version.stages.iter().any(|s| s == stage));
            let current = at("AWSCURRENT").ok_or_else(told)?;
            let Says::Text(value) = &current.says else { return Err(told()) };
            let held = secrets.get(name).map(|secret| &secret["data"]["value"]).and_then(Value::as_str);
            let shown = &claims.get(name).ok_or_else(told)?["status"]["remoteVersions"][0]["versionId"];
            let right = versions.len() == 2
                && at("AWSPENDING").is_none_or(|pending| pending.id == current.id)
                && *shown == *current.id
                && held == Some(&*base64(value))
                && says(&claims, name, "Rotated") == ("True", "Verified")
                && says(&claims, name, "Ready") == ("True", "Ready")
                && !lent.iter().any(|handle| handle.contains(&**name));
            right.then_some(()).ok_or_else(|| format!("{} {lent:?}", told()))?;
        }
        Ok(())
    }
}

/// A status, and its event, may tell two things at once, the more on a busy machine: those after the first may not come.
pub fn may_be_left_out(write: &NthWrite) -> bool {
    write.nth > 0 && (write.what.ends_with("/status") || is_event(write))
}

fn is_event(write: &NthWrite) -> bool {
    write.what.split('/').any(|part| part == "events")
}

fn says<'a>(claims: &'a BTreeMap<String, Value>, name: &str, kind: &str) -> (&'a str, &'a str) {
    let condition = claims.get(name).and_then(|claim| condition(claim, kind));
    let text = |field: &str| condition.and_then(|condition| condition[field].as_str()).unwrap_or_default();
    (text("status"), text("reason"))
}

fn base64(text: &str) -> String {
    use ::base64::Engine;
    ::base64::engine::general_purpose::STANDARD.encode(text)
}
