//! One cluster, one emulator and one operator for every case; each case has a namespace, a store and a policy of its own.
//! The rule ManagedSecrets is lifted, so that cases can forge what it would refuse.

use std::rc::Rc;
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use scoped_secrets::admission::webhook_configuration::CONFIGURATION;
use serde_json::{Value, json};

use super::canary;
use super::cluster::Cluster;
use super::emulator::Emulator;
use super::operator::{Operator, install_unguarded};
use super::oracle::{all_is_well, guarantees_hold_in};
use super::stub_manager::{Says, StubManager};
use super::tenants::{SOON, apply, condition, ready};
use super::wait::eventually;

pub struct Bed {
    pub cluster: Cluster,
    pub aws: Emulator,
    /// Cases that stop it, or its webhook, have it to themselves.
    operator: RwLock<Option<Operator>>,
}

pub fn bed() -> &'static Bed {
    static BED: OnceLock<Bed> = OnceLock::new();
    BED.get_or_init(|| {
        let (cluster, aws) = (Cluster::start(), Emulator::start());
        install_unguarded(&cluster);
        let operator = Operator::start(&cluster);
        Bed { cluster, aws, operator: RwLock::new(Some(operator)) }
    })
}

impl Bed {
    /// Runs kubectl; its output.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let out = self.cluster.kubectl(arguments);
        assert!(out.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    pub fn apply(&self, yaml: &str) {
        apply(&self.cluster, yaml);
    }

    /// The refusal of what must not be taken, which says all of this.
    pub fn refuses(&self, yaml: &str, parts: &[&str]) -> String {
        let Err(refusal) = self.cluster.apply(yaml) else { panic!("it was taken:\n{yaml}") };
        for part in parts {
            assert!(refusal.contains(part), "{part:?} is missing in the refusal: {refusal}\nof\n{yaml}");
        }
        refusal
    }
}

/// Who holds the operator while a case runs.
enum Hold {
    /// Who waits to have it alone lets no new reader in: cases beside each other share one guard.
    Shared(Rc<RwLockReadGuard<'static, Option<Operator>>>),
    Alone(RwLockWriteGuard<'static, Option<Operator>>),
    /// The case beside it has the operator alone, and looks for leaks.
    ByAnother,
}

/// One case: the namespace NAME with the labels tenant=NAME and environment=prod, the store NAME at a stub of its own, and
/// the policy NAME, which allows it NAME/prod/** there. When it ends, every guarantee holds in its namespace, and nothing may have
/// leaked.
pub struct Case {
    pub bed: &'static Bed,
    pub name: &'static str,
    pub stub: StubManager,
    hold: Hold,
}

impl Case {
    pub fn new(name: &'static str) -> Self {
        Self::bare(name).furnished()
    }

    /// A second case in the same test.
    pub fn beside(&self, name: &'static str) -> Self {
        let hold = match &self.hold {
            Hold::Shared(guard) => Hold::Shared(guard.clone()),
            Hold::Alone(_) | Hold::ByAnother => Hold::ByAnother,
        };
        Self { bed: self.bed, name, stub: StubManager::start(), hold }.furnished()
    }

    fn furnished(self) -> Self {
        self.bed.apply(&self.namespace());
        self.bed.apply(&self.store(&self.stub.endpoint));
        self.bed.apply(&self.policy(""));
        self.settled();
        self
    }

    /// Without namespace, store and policy.
    pub fn bare(name: &'static str) -> Self {
        let bed = bed();
        let hold = Hold::Shared(Rc::new(bed.operator.read().unwrap_or_else(PoisonError::into_inner)));
        Self { bed, name, stub: StubManager::start(), hold }
    }

    /// With nobody beside it, so that it may stop the operator.
    pub fn alone(name: &'static str) -> Self {
        let bed = bed();
        let mut operator = bed.operator.write().unwrap_or_else(PoisonError::into_inner);
        operator.get_or_insert_with(|| Operator::start(&bed.cluster));
        Self { bed, name, stub: StubManager::start(), hold: Hold::Alone(operator) }.furnished()
    }

    pub fn stop_operator(&mut self) {
        let Hold::Alone(operator) = &mut self.hold else { panic!("others use the operator") };
        operator.take().expect("it runs").terminate();
    }

    pub fn start_operator(&mut self) {
        let Hold::Alone(operator) = &mut self.hold else { panic!("others use the operator") };
        **operator = Some(Operator::start(&self.bed.cluster));
    }

    pub fn operator(&self) -> Option<&Operator> {
        match &self.hold {
            Hold::Shared(operator) => (**operator).as_ref(),
            Hold::Alone(operator) => operator.as_ref(),
            Hold::ByAnother => None,
        }
    }

    /// From here on nobody reviews, until [`Case::admission_on`].
    pub fn admission_off(&self) {
        self.bed.kubectl(&["delete", "validatingwebhookconfiguration", CONFIGURATION]);
    }

    /// Applies what admission would refuse, as soon as the API server has forgotten the webhook.
    pub fn bypass(&self, yaml: &str) {
        eventually("nobody reviews", SOON, || self.bed.cluster.apply(yaml).map(drop));
    }

    /// Puts the webhook's registration back; the operator fills it in.
    pub fn admission_on(&self) {
        install_unguarded(&self.bed.cluster);
        let thief = self.yaml("thief", "data: [{secretKey: value, remoteRef: {key: victim/prod/db}}]");
        eventually("claims are reviewed again", SOON, || match self.bed.cluster.apply(&thief) {
            Err(refusal) if refusal.contains("KeyNotAllowed") => Ok(()),
            other => {
                self.bed.kubectl(&["delete", "scopedsecret", "thief", "-n", self.name, "--ignore-not-found"]);
                Err(format!("{other:?}"))
            }
        });
    }

    /// Somebody's finalizer on a ScopedSecret; None takes it off.
    pub fn finalizer(&self, name: &str, finalizer: Option<&str>) {
        let patch = json!({"metadata": {"finalizers": finalizer.map(|f| [f])}}).to_string();
        self.bed.kubectl(&["patch", "scopedsecret", name, "-n", self.name, "--type=merge", "-p", &patch]);
    }

    /// Ends a story that left nothing half done.
    pub fn all_is_well(&self) {
        all_is_well(&self.bed.cluster, self.operator().expect("it runs"));
    }

    pub fn namespace(&self) -> String {
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {0}, labels: {{tenant: {0}, environment: prod}}}}\n",
            self.name
        )
    }

    /// The store, its account given: it needs no STS.
    pub fn store(&self, endpoint: &str) -> String {
        format!(
            "apiVersion: scopedsecrets.io/v1alpha1\nkind: ScopedSecretStore\nmetadata: {{name: {}}}\nspec: {{aws: {{region: eu-west-1, accountId: \"123456789012\", endpoint: \"{endpoint}\", auth: {{}}}}}}\n",
            self.name
        )
    }

    /// The policy, with these further lines in its spec.
    pub fn policy(&self, more: &str) -> String {
        let more: String = more.lines().map(|line| format!("  {line}\n")).collect();
        format!(
            "apiVersion: scopedsecrets.io/v1alpha1\nkind: SegmentationPolicy\nmetadata: {{name: {0}}}\nspec:\n  segment: {{labels: [tenant, environment]}}\n  namespaceSelector: {{matchLabels: {{tenant: {0}}}}}\n  allow:\n  - storeRef: {{name: {0}}}\n    keys: [\"${{label:tenant}}/${{label:environment}}/**\"]\n{more}",
            self.name
        )
    }

    /// Waits until store and policy are in force.
    pub fn settled(&self) {
        for kind in ["scopedsecretstore", "segmentationpolicy"] {
            eventually(&format!("{kind} {} is ready", self.name), SOON, || {
                ready(&self.bed.cluster, kind, None, self.name)
            });
        }
    }

    /// A key of this namespace's own.
    pub fn key(&self, name: &str) -> String {
        format!("{}/prod/{name}", self.name)
    }

    pub fn says(&self, name: &str, says: Says) {
        self.stub.put(&self.key(name), says);
    }

    pub fn text(&self, name: &str, text: &str) {
        self.says(name, Says::Text(text.to_owned()));
    }

    /// A ScopedSecret of this store with these lines in its spec, in which KEY/ stands for this namespace's own keys.
    pub fn yaml(&self, name: &str, spec: &str) -> String {
        let spec = spec.replace("KEY/", &self.key(""));
        let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
        format!(
            "apiVersion: scopedsecrets.io/v1alpha1\nkind: ScopedSecret\nmetadata: {{name: {name}, namespace: {0}}}\nspec:\n  storeRef: {{name: {0}}}\n  consumers: [{{serviceAccountName: {name}}}]\n{spec}",
            self.name
        )
    }

    pub fn claim(&self, name: &str, spec: &str) {
        self.bed.apply(&self.yaml(name, spec));
    }

    /// Claims the key of the ScopedSecret's own name, whole, and waits for it.
    pub fn projected(&self, name: &str, value: &str) {
        self.text(name, value);
        self.claim(name, &whole(name));
        self.is_ready(name);
        self.holds(name, "value", value);
    }

    pub fn is_ready(&self, name: &str) -> Value {
        eventually(&format!("{}/{name} is ready", self.name), SOON, || {
            ready(&self.bed.cluster, "scopedsecret", Some(self.name), name)
        })
    }

    pub fn refresh(&self, name: &str) {
        static TURN: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let turn = TURN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let at = format!("scopedsecrets.io/refresh-at=turn-{turn}");
        self.bed.kubectl(&["annotate", "scopedsecret", name, "-n", self.name, &at, "--overwrite"]);
    }

    /// The Secret, or none.
    pub fn secret(&self, name: &str) -> Option<Value> {
        self.bed.cluster.get_json("secret", self.name, name)
    }

    pub fn no_secret(&self, name: &str) {
        assert!(self.secret(name).is_none(), "{}/{name}: something was written", self.name);
    }

    pub fn secret_goes(&self, name: &str) {
        // The garbage collector learns of new kinds only every 30 s.
        eventually(&format!("Secret {}/{name} goes", self.name), SOON * 3, || {
            if self.secret(name).is_none() { Ok(()) } else { Err("still there") }
        });
    }

    pub fn holds(&self, name: &str, key: &str, value: &str) {
        use base64::Engine;
        let expected = base64::engine::general_purpose::STANDARD.encode(value);
        eventually(&format!("Secret {}/{name} holds {value}", self.name), SOON, || {
            let secret = self.secret(name).ok_or_else(|| "no Secret".to_owned())?;
            if secret["data"][key] == expected.as_str() { Ok(()) } else { Err(secret["data"].to_string()) }
        });
    }

    /// Waits until a condition has this status and reason; the ScopedSecret.
    pub fn becomes(&self, name: &str, kind: &str, status: &str, reason: &str) -> Value {
        super::tenants::becomes(&self.bed.cluster, self.name, name, kind, status, reason)
    }

    /// Waits until the status tells this, as the table of the design says; the ScopedSecret.
    pub fn told(&self, name: &str, how: How, reason: &str, says: &[&str]) -> Value {
        let what = format!("{}/{name} says {how:?} {reason}", self.name);
        let object = eventually(&what, SOON, || {
            let object = self.bed.cluster.get_json("scopedsecret", self.name, name).ok_or("not there")?;
            let current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            let wrong: Vec<String> = how.table(reason).into_iter().filter_map(|line| line.differs(&object)).collect();
            if wrong.is_empty() && current { Ok(object) } else { Err(format!("{wrong:?} in {}", object["status"])) }
        });
        let told = how.speaks(&object);
        for part in says {
            let part = part.replace("KEY/", &self.key(""));
            assert!(told.contains(&part), "{what}: {part:?} is missing in {told:?}");
        }
        object
    }
}

/// Claims the whole value of a key.
pub fn whole(key: &str) -> String {
    format!("data: [{{secretKey: value, remoteRef: {{key: KEY/{key}}}}}]")
}

impl Drop for Case {
    fn drop(&mut self) {
        if let (false, Some(operator)) = (std::thread::panicking(), self.operator()) {
            // Of its own namespace alone: in others cases that run beside it forge what is put right later.
            guarantees_hold_in(&self.bed.cluster, self.name);
            canary::scan(&self.bed.cluster, operator, &[canary::CANARY]);
            // It is in a static, and so never ends.
            operator.met_no_denial();
        }
    }
}

/// A row of the design's table of status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The authoriser says no; nobody is asked.
    Refused,
    /// Allowed, and what is there cannot become a Secret.
    Invalid,
    /// No value yet; it is tried again.
    Waiting,
    /// The last value stands; it is tried again.
    LastGood,
    /// What decides is not known; no value yet.
    Undecided,
}

/// A condition as it must be; None: it must not be there.
struct Line(&'static str, Option<(&'static str, Option<String>)>);

impl Line {
    fn differs(&self, object: &Value) -> Option<String> {
        let found = condition(object, self.0);
        let right = match (&self.1, found) {
            (None, None) => true,
            (Some((status, reason)), Some(found)) => {
                found["status"] == *status && reason.as_ref().is_none_or(|reason| found["reason"] == reason.as_str())
            }
            _ => false,
        };
        (!right).then(|| format!("{}: not {:?}", self.0, self.1))
    }
}

impl How {
    fn table(self, reason: &str) -> Vec<Line> {
        let is = |kind, status| Line(kind, Some((status, None)));
        let says = |kind, status| Line(kind, Some((status, Some(reason.to_owned()))));
        let none = |kind| Line(kind, None);
        match self {
            Self::Refused => {
                vec![says("Ready", "False"), says("Authorized", "False"), says("Stalled", "True"), none("Reconciling")]
            }
            Self::Invalid => vec![
                says("Ready", "False"),
                is("Authorized", "True"),
                says("Synced", "False"),
                says("Stalled", "True"),
                none("Reconciling"),
            ],
            Self::Waiting => vec![
                says("Ready", "False"),
                is("Authorized", "True"),
                says("Synced", "False"),
                says("Reconciling", "True"),
                none("Stalled"),
            ],
            Self::LastGood => {
                vec![is("Ready", "True"), says("Synced", "False"), none("Reconciling"), none("Stalled")]
            }
            Self::Undecided => vec![
                says("Ready", "False"),
                says("Authorized", "Unknown"),
                says("Synced", "False"),
                says("Reconciling", "True"),
                none("Stalled"),
            ],
        }
    }

    /// The message that a user reads first.
    fn speaks(self, object: &Value) -> String {
        let kind = if self == Self::LastGood { "Synced" } else { "Ready" };
        condition(object, kind).map_or_else(String::new, |c| c["message"].as_str().unwrap_or_default().to_owned())
    }
}
