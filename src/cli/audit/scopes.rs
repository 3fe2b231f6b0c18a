//! Which namespaces belong together: by policy, else by the labels that the reader named, else each for itself.
//!
//! What no policy governs is put under policies that are only assumed, so that the judges of what crosses a boundary are the
//! operator's own, also where nothing is installed. Guarantees are no part of that: they are asked before.

use crate::api::NAMESPACE_NAME_LABEL;
use crate::api::policy::Governs;
use crate::cli::observed::Observed;
use crate::segmentation::access::subject::Subject;
use crate::segmentation::authorize::segment_of;
use crate::segmentation::foreign::{ForeignKind, ForeignStore, Source, What};
use crate::segmentation::key::Realm;
use crate::segmentation::policy::Policy;
use crate::segmentation::world::{PolicyState, StoreState, World};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// What a Secret must not leave.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// A segment.
    Segment(String),
    /// A namespace in none.
    Namespace(String),
}

impl Scope {
    /// Whether somebody said that it is one.
    pub fn is_segment(&self) -> bool {
        self.segment().is_some()
    }

    /// The segment's name.
    pub fn segment(&self) -> Option<&str> {
        if let Self::Segment(name) = self { Some(name) } else { None }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(name) => write!(f, "segment {name}"),
            Self::Namespace(name) => write!(f, "namespace {name}"),
        }
    }
}

/// The scope of each namespace.
#[derive(Debug, Default)]
pub struct Scopes {
    of: BTreeMap<Arc<str>, Scope>,
    governed: BTreeSet<Arc<str>>,
    /// Whose objects a policy really holds to its rules.
    governs: BTreeSet<Governs>,
}

/// The account of whoever assumes no role, where no ScopedSecretStore tells it: all such are the nodes' own.
const NODES: &str = "000000000000";

impl Scopes {
    /// Tells them, and puts under assumed policies what no policy governs. Policies that cannot be understood count as none,
    /// and every kind of other operators' objects counts as governed.
    pub fn assume(observed: &mut Observed, labels: &[String]) -> Self {
        let world = &mut observed.world;
        world.policies_synced = true;
        world.policies.retain(|_, state| matches!(state, PolicyState::Known(_)));
        // Not every namespace may have been shown.
        let named: Vec<Arc<str>> = world.foreign.objects().filter_map(|(name, _)| name.namespace.clone()).collect();
        named.into_iter().for_each(|name| _ = world.namespaces.entry(name).or_default());
        for (name, own) in &mut world.namespaces {
            own.entry(NAMESPACE_NAME_LABEL.to_owned()).or_insert_with(|| name.to_string());
        }
        let mut scopes = Self { governs: hold_others(world), ..Self::default() };
        let (mut labelled, mut alone) = (Vec::new(), Vec::new());
        for (name, own) in &world.namespaces {
            let is_labelled = || !labels.is_empty() && labels.iter().all(|l| own.get(l).is_some_and(|v| !v.is_empty()));
            match segment_of(name, &*world) {
                Ok(_) => _ = scopes.governed.insert(name.clone()),
                // They disagree; which it is cannot be assumed.
                Err(refusal) if refusal.reason == crate::api::Reason::SegmentConflict => {}
                Err(_) if is_labelled() => labelled.push(name.to_string()),
                Err(_) => alone.push(name.to_string()),
            }
        }
        let stores = assumed_stores(world);
        let readers = readers_of_all(world);
        let name_label = [NAMESPACE_NAME_LABEL.to_owned()];
        for (policy, by, members) in
            [("(assumed by labels)", labels, &labelled), ("(assumed)", &name_label[..], &alone)]
        {
            world.policies.extend(assumed(policy, by, members, &stores, &readers));
        }
        let alone: BTreeSet<&str> = alone.iter().map(String::as_str).collect();
        for name in world.namespaces.keys() {
            let scope = match segment_of(name, &*world) {
                Ok(segment) if !alone.contains(&**name) => Scope::Segment(segment.to_string()),
                _ => Scope::Namespace(name.to_string()),
            };
            scopes.of.insert(name.clone(), scope);
        }
        scopes
    }

    /// Of a namespace.
    pub fn of(&self, namespace: &str) -> Scope {
        self.of.get(namespace).cloned().unwrap_or_else(|| Scope::Namespace(namespace.to_owned()))
    }

    /// The scope that a judge names as a segment.
    pub fn named(&self, segment: &str) -> Scope {
        match self.of.get(segment) {
            Some(Scope::Namespace(name)) => Scope::Namespace(name.clone()),
            _ => Scope::Segment(segment.to_owned()),
        }
    }

    /// Whether a policy governs a namespace.
    pub fn is_governed(&self, namespace: &str) -> bool {
        self.governed.contains(namespace)
    }

    /// Whether a policy holds objects of another operator to its rules.
    pub fn holds(&self, operators: Governs) -> bool {
        self.governs.contains(&operators)
    }
}

/// Has every policy govern every kind of others' objects; tells which were governed.
fn hold_others(world: &mut World) -> BTreeSet<Governs> {
    let every: BTreeSet<Governs> = ForeignKind::ALL.iter().map(|kind| kind.governs()).collect();
    let mut held = BTreeSet::new();
    for state in world.policies.values_mut() {
        if let PolicyState::Known(policy) = state {
            held.extend(policy.governs.iter().copied());
            Arc::make_mut(policy).governs.clone_from(&every);
        }
    }
    held
}

/// For each region that others' objects ask, a store of the account that is theirs unless they say otherwise.
fn assumed_stores(world: &mut World) -> Vec<String> {
    let mut regions: BTreeSet<Box<str>> = BTreeSet::new();
    for (_, store) in world.foreign.stores() {
        if let ForeignStore::Aws { region, account: None, .. } = store {
            regions.insert(region.clone());
        }
    }
    for ask in world.foreign.objects().flat_map(|(_, record)| &record.asks) {
        if let What::Read { from: Source::Region(region), .. } = &ask.what {
            regions.insert((**region).into());
        }
    }
    let mut names = Vec::new();
    for region in regions {
        let known = world.stores.values().filter_map(|state| match state.realm() {
            Some(Realm::Aws { account, region: reached }) if **reached == *region => Some(account.clone()),
            _ => None,
        });
        let known: BTreeSet<String> = known.collect();
        let account = known.first().filter(|_| known.len() == 1).cloned().unwrap_or_else(|| NODES.to_owned());
        let name = format!("(nodes of {region})");
        world.put_store(&name, Some(StoreState::Known(Realm::Aws { account, region: region.into() })));
        names.push(name);
    }
    names
}

/// The readers that every policy names: who may read across the cluster may read what no policy governs.
fn readers_of_all(world: &World) -> Vec<Subject> {
    let mut policies = world.policies.values().filter_map(PolicyState::known);
    let first = policies.next().map(|policy| policy.readers.clone()).unwrap_or_default();
    policies.fold(first, |all, next| all.into_iter().filter(|reader| next.readers.contains(reader)).collect())
}

/// A policy over these namespaces; none, where there is nothing to govern.
fn assumed(
    name: &str,
    labels: &[String],
    members: &[String],
    stores: &[String],
    readers: &[Subject],
) -> Option<(String, PolicyState)> {
    let allow: Vec<_> = stores.iter().map(|store| json!({"storeRef": {"name": store}, "keys": ["**"]})).collect();
    let spec = json!({
        "segment": {"labels": labels},
        "namespaceSelector": {"matchExpressions": [{"key": NAMESPACE_NAME_LABEL, "operator": "In", "values": members}]},
        "allow": allow,
    });
    let mut policy = Policy::compile(name, &serde_json::from_value(spec).ok()?).ok()?;
    policy.readers = readers.to_vec();
    (!members.is_empty()).then(|| (name.to_owned(), PolicyState::Known(Arc::new(policy))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::cluster::Seen;
    use crate::cli::observed::tests::facts;
    use crate::cli::observed::{Facts, build};

    fn bare() -> Facts {
        Facts { policies: Seen::Absent, claims: Seen::Absent, ..facts(&[]) }
    }

    fn scopes(facts: Facts, labels: &[&str]) -> Scopes {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        Scopes::assume(&mut build(facts), &labels)
    }

    #[test]
    fn by_policy_by_labels_or_alone() {
        let (segment, namespace) =
            (|name: &str| Scope::Segment(name.into()), |name: &str| Scope::Namespace(name.into()));
        let governed = scopes(facts(&[]), &[]);
        assert_eq!(
            (governed.of("payments-prod"), governed.of("plain")),
            (segment("payments/prod"), namespace("plain"))
        );
        assert!(governed.is_governed("payments-prod") && !governed.is_governed("plain"));
        assert_eq!(
            (governed.named("payments/prod"), governed.named("plain")),
            (segment("payments/prod"), namespace("plain"))
        );
        assert_eq!(scopes(bare(), &[]).of("payments-prod"), namespace("payments-prod"));
        let by_tenant = scopes(bare(), &["tenant"]);
        assert_eq!(by_tenant.of("payments-prod"), segment("payments"));
        assert_eq!(by_tenant.of("payments-staging"), segment("payments"));
        assert_eq!((by_tenant.of("plain"), by_tenant.of("nowhere")), (namespace("plain"), namespace("nowhere")));
    }

    #[test]
    fn whom_every_policy_names_reads_what_none_governs() {
        use crate::segmentation::fixtures::{TENANTS, policy};
        let named = |all: &[&str]| {
            let policies = all.iter().enumerate().map(|(number, readers)| {
                let readers: Vec<String> =
                    readers.chars().map(|name| format!("{{kind: User, name: {name}}}")).collect();
                let yaml = format!("{TENANTS}rules: {{readers: [{}]}}\n", readers.join(", "));
                policy(&format!("p{number}"), &yaml)
            });
            let readers = readers_of_all(&World::with_tenants().under(policies.collect::<Vec<_>>()));
            readers.iter().map(|reader| format!("{reader:?}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(named(&["ab", "bc"]), "User(\"b\")");
        assert_eq!((named(&["ab", ""]), named(&[])), (String::new(), String::new()));
    }

    #[test]
    fn what_may_not_be_seen_or_understood_is_assumed_to_govern_nothing() {
        assert_eq!(
            scopes(Facts { policies: Seen::Barred, ..facts(&[]) }, &[]).of("payments-prod").to_string(),
            "namespace payments-prod"
        );
        let broken = json!({"apiVersion": "scopedsecrets.io/v1alpha1", "kind": "SegmentationPolicy",
            "metadata": {"name": "broken"}, "spec": {"segment": 1}});
        let policies = Seen::There(vec![serde_json::from_value(broken).unwrap()]);
        assert!(scopes(Facts { policies, ..facts(&[]) }, &["tenant"]).of("payments-prod").is_segment());
    }
}
