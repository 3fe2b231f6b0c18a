//! SecretStores and ClusterSecretStores to ScopedSecretStores: one for each region and identity. A store grants nothing here, so
//! that what many namespaces wrote alike becomes one.

use super::{Told, note};
use crate::api::Reason;
use crate::cli::init::found::{Foreign, Found};
use crate::cli::report::Severity;
use crate::cli::simulate::accounts::{ASSUMED, Accounts};
use crate::segmentation::foreign::{self, ForeignKind, ForeignStore};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A store of theirs, as it is carried over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// The name of ours.
    pub name: String,
    /// What it puts before every key.
    pub prefix: String,
    /// Where its keys live: stores of one place have the same keys.
    pub place: (String, String),
}

/// What they become.
#[derive(Debug, Default)]
pub struct Stores {
    /// By kind, namespace and name; None: it cannot be carried over.
    known: BTreeMap<(bool, String, String), Option<Store>>,
    /// The specs of ours, by name.
    pub specs: BTreeMap<String, Value>,
    /// What is said of each of ours.
    pub comments: BTreeMap<String, Vec<String>>,
}

impl Stores {
    /// Of all that were found. The cluster's own keep their names first.
    pub fn of(found: &Found, accounts: &Accounts, told: &mut Vec<Told>) -> Self {
        let mut stores = Self::default();
        let mut names: BTreeMap<String, (String, Vec<String>)> = BTreeMap::new();
        for cluster in [true, false] {
            for store in found.objects.iter().filter(|object| object.kind.is_store()) {
                if (store.kind == ForeignKind::ClusterSecretStore) == cluster {
                    stores.add(store, accounts, &mut names, told);
                }
            }
        }
        stores
    }

    /// The one that an entry asks.
    pub fn get(&self, namespace: &str, reference: &Value) -> Option<&Store> {
        let cluster = reference["kind"] == "ClusterSecretStore";
        let namespace = if cluster { "" } else { namespace };
        let name = reference["name"].as_str().unwrap_or_default();
        self.known.get(&(cluster, namespace.to_owned(), name.to_owned()))?.as_ref()
    }

    fn add(
        &mut self,
        theirs: &Foreign,
        accounts: &Accounts,
        names: &mut BTreeMap<String, (String, Vec<String>)>,
        told: &mut Vec<Told>,
    ) {
        let cluster = theirs.kind == ForeignKind::ClusterSecretStore;
        let place = (cluster, theirs.namespace.clone(), theirs.name.clone());
        let mut say = |severity, reason, message: &str| told.push(note(theirs, severity, reason, message));
        let (region, account, prefix) = match foreign::store(&theirs.spec) {
            ForeignStore::Aws { region, account, prefix, .. } => (region, account, prefix),
            ForeignStore::Unclear(why) => {
                say(Severity::Error, Reason::NotCarriedOver, &why);
                self.known.insert(place, None);
                return;
            }
        };
        let identity = identity(theirs);
        // Of one identity, and so one store of ours.
        let key = format!("{region}\n{}", identity.source);
        let (name, from) = names.entry(key).or_insert_with(|| (free_name(theirs, &self.specs), Vec::new()));
        from.push(if cluster { theirs.name.clone() } else { format!("{}/{}", theirs.namespace, theirs.name) });
        let mut aws = json!({"region": *region, "auth": identity.auth(name)});
        let given = accounts.by_store.get(name.as_str()).or(accounts.default.as_ref()).map(String::as_str);
        let account = account.as_deref().or(given);
        if let Some(account) = account {
            aws["accountId"] = account.into();
        }
        let mut comments = vec![format!("Was {}.", from.join(", "))];
        for (severity, message) in identity.losses(name).into_iter().chain(others(theirs)) {
            say(severity, Reason::NotCarriedOver, &message);
            comments.push(message);
        }
        if account.is_none() {
            comments.push(
                "Its account is observed by sts:GetCallerIdentity, as nothing says it: accountId may name it.".into(),
            );
        }
        let store = Store {
            name: name.clone(),
            prefix: prefix.into(),
            place: (region.into(), account.unwrap_or(ASSUMED).to_owned()),
        };
        self.specs.insert(name.clone(), json!({"aws": aws}));
        let said = self.comments.entry(name.clone()).or_default();
        said.retain(|line| !line.starts_with("Was "));
        comments.retain(|line| !said.contains(line));
        said.splice(0..0, comments);
        self.known.insert(place, Some(store));
    }
}

/// A name that no other identity has.
fn free_name(theirs: &Foreign, taken: &BTreeMap<String, Value>) -> String {
    let own = [theirs.name.clone(), format!("{}-{}", theirs.name, theirs.namespace)];
    let numbered = (2..).map(|number| format!("{}-{number}", own[1].trim_end_matches('-')));
    own.iter().cloned().chain(numbered).find(|name| !taken.contains_key(name)).unwrap_or_default()
}

/// Who asks the manager.
struct Identity<'a> {
    /// What tells it from others.
    source: String,
    role: Option<&'a str>,
    keys: Option<&'a str>,
    account: Option<&'a str>,
}

fn identity(theirs: &Foreign) -> Identity<'_> {
    let aws = &theirs.spec["provider"]["aws"];
    let role = aws["role"].as_str().filter(|role| !role.is_empty());
    let keys = aws["auth"]["secretRef"]["accessKeyIDSecretRef"]["name"].as_str();
    let account = aws["auth"]["jwt"]["serviceAccountRef"]["name"].as_str();
    let source = match (role, keys) {
        (Some(role), _) => format!("role {role}"),
        (None, Some(keys)) => {
            let within = aws["auth"]["secretRef"]["accessKeyIDSecretRef"]["namespace"].as_str();
            format!("keys {}/{keys}", within.unwrap_or(&theirs.namespace))
        }
        (None, None) => "own".to_owned(),
    };
    Identity { source, role, keys, account }
}

impl Identity<'_> {
    fn auth(&self, name: &str) -> Value {
        match (self.role, self.keys) {
            (Some(role), _) => json!({"assumeRole": {"roleArn": role}}),
            (None, Some(_)) => json!({"secretRef": {"name": format!("{name}-credentials")}}),
            (None, None) => json!({}),
        }
    }

    fn losses(&self, name: &str) -> Vec<(Severity, String)> {
        let mut losses = Vec::new();
        match (self.role, self.keys) {
            (None, Some(keys)) => losses.push((Severity::Warning, format!(
                "its keys are in the Secret {keys:?}: store them as accessKeyId and secretAccessKey (and sessionToken, where they are temporary) in a Secret {name}-credentials of the operator's namespace, or better give the operator an identity of its own and write auth: {{}}"
            ))),
            (Some(_), Some(keys)) => losses.push((Severity::Warning, format!(
                "its role was assumed by keys in the Secret {keys:?}: here the operator's own identity assumes it, so that the role must trust that one"
            ))),
            (Some(_), None) => losses.push((Severity::Warning,
                "its role is now assumed by the operator's own identity, with the session tags namespace and segment: the role must trust it for sts:AssumeRole and sts:TagSession".into()
            )),
            (None, None) => {}
        }
        if let Some(account) = self.account {
            losses.push((Severity::Warning, format!(
                "it asked as the ServiceAccount {account:?} (auth.jwt): here nobody borrows a ServiceAccount's token, and the operator asks as itself: give its identity what that one could read, or a role for each segment (assumeRole)"
            )));
        }
        losses
    }
}

/// What else it says and has no match.
fn others(theirs: &Foreign) -> Vec<(Severity, String)> {
    let aws = &theirs.spec["provider"]["aws"];
    let set = |value: &Value| {
        !matches!(value, Value::Null) && *value != json!([]) && *value != json!("") && *value != json!("None")
    };
    let fields =
        ["externalID", "additionalRoles", "sessionTags", "sessionTagsPolicy", "customSessionTags", "transitiveTagKeys"];
    let mut lost: Vec<(Severity, String)> = fields
        .iter()
        .filter(|field| set(&aws[**field]))
        .map(|field| {
            (
                Severity::Error,
                format!("spec.provider.aws.{field} has no match: one role is assumed, with tags of the operator's own"),
            )
        })
        .collect();
    for field in ["controller", "refreshInterval", "retrySettings"] {
        if set(&theirs.spec[field]) && theirs.spec[field] != json!(0) {
            let text =
                format!("spec.{field} has no match: there is one operator, with a pace and a backoff of its own");
            lost.push((Severity::Warning, text));
        }
    }
    if set(&theirs.spec["conditions"]) {
        lost.push((
            Severity::Warning,
            "spec.conditions said which namespaces may use it: here the policy does, by the keys that it allows".into(),
        ));
    }
    lost
}
