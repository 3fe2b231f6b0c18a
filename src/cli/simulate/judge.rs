//! The authoriser, asked about every ScopedSecret of the input as if all of it had just been applied in order.

use super::accounts::{ASSUMED, Accounts, Told};
use super::around::{self, Granted};
use super::grants;
use super::kind::Kind;
use super::object::Object;
use super::report::{Finding, Rule, Severity, Tally};
use super::schema::nearest;
use super::yaml::{Node, Place};
use crate::api::{
    REVOKE_ANNOTATION, Reason, ScopedSecretSpec, ScopedSecretStoreSpec, SecretGrantSpec, SegmentationPolicySpec,
};
use crate::controller::grant::plan::{Claim as Lendable, Standing};
use crate::projection;
use crate::rotation;
use crate::segmentation::authorize::{authorize, governance, rotation::rotation as may_rotate};
use crate::segmentation::change::disagreement;
use crate::segmentation::namesakes::{namesakes, told};
use crate::segmentation::pattern::KeyPattern;
use crate::segmentation::policy::{InvalidPolicy, Policy, fault_of};
use crate::segmentation::verdict::{Refusal, Verdict};
use crate::segmentation::world::{Claim, ObjectName, PolicyState, StoreState, VersionAsked, World};
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The input as a world, and who of it asks for what.
pub struct Bench<'a> {
    now: Timestamp,
    accounts: &'a Accounts,
    world: World,
    /// Stores that must be corrected first.
    broken_stores: BTreeSet<String>,
    /// Namespaces that must be corrected first.
    broken_namespaces: BTreeSet<String>,
    policies: Vec<(&'a Object, Arc<Policy>)>,
    claims: Vec<Asked<'a>>,
    grants: Vec<(&'a Object, SecretGrantSpec)>,
    /// The ScopedSecrets to whose Secrets access may be given.
    lendable: HashMap<ObjectName, Lendable>,
    /// What is judged by the other rules.
    others: Vec<&'a Object>,
    targets: HashMap<ObjectName, (&'a Object, Place)>,
    /// What was found.
    pub findings: Vec<Finding>,
    /// How many of what.
    pub tally: Tally,
}

/// A ScopedSecret and what it asks for.
struct Asked<'a> {
    object: &'a Object,
    claim: Claim,
    asks: Vec<Ask>,
    consumers: Vec<String>,
}

/// One place in a spec that names a key.
struct Ask {
    key: Arc<str>,
    version: VersionAsked,
    at: Place,
}

impl<'a> Bench<'a> {
    /// An empty world.
    pub fn new(now: Timestamp, accounts: &'a Accounts) -> Self {
        let mut world = World::default();
        world.policies_synced = true;
        Self {
            now,
            accounts,
            world,
            broken_stores: BTreeSet::new(),
            broken_namespaces: BTreeSet::new(),
            policies: Vec::new(),
            claims: Vec::new(),
            grants: Vec::new(),
            lendable: HashMap::new(),
            others: Vec::new(),
            targets: HashMap::new(),
            findings: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// Adds an object. One that is not `sound` would be refused by the API server: whatever depends on it is not judged.
    pub fn add(&mut self, object: &'a Object, sound: bool) {
        match object.kind {
            Kind::Namespace => {
                if !sound {
                    self.broken_namespaces.insert(object.name.clone());
                }
                self.world.namespaces.insert(object.name.as_str().into(), object.labels());
            }
            Kind::ScopedSecretStore => self.add_store(object, sound),
            Kind::SegmentationPolicy => self.add_policy(object, sound),
            Kind::ScopedSecret => self.add_claim(object, sound),
            Kind::SecretGrant => {
                if let Some(spec) = self.decoded(object, sound, Rule::Schema, Reason::GrantInvalid) {
                    self.grants.push((object, spec));
                }
            }
            Kind::Native(_) | Kind::Foreign(_) | Kind::Carvel(_) => self.others.push(object),
        }
    }

    fn add_store(&mut self, object: &'a Object, sound: bool) {
        let spec = self.decoded::<ScopedSecretStoreSpec>(object, sound, Rule::Schema, Reason::StoreInvalid);
        let Some((state, told)) = spec.and_then(|spec| self.accounts.realm(&object.name, &spec)) else {
            self.world.put_store(&object.name, Some(StoreState::AccountUnknown { region: String::new() }));
            self.broken_stores.insert(object.name.clone());
            return;
        };
        self.world.put_store(&object.name, Some(state));
        let assumption = match told {
            Told::Known => return,
            Told::ByRole(account) => {
                format!("the store has no accountId: its role's account, {account}, is taken for it")
            }
            Told::Assumed => format!(
                "the store has no accountId: all such stores are taken to reach one and the same account ({ASSUMED}); ARNs of the real one look foreign"
            ),
        };
        let at = object.node.place_of("spec.aws");
        let mut note = object.finding(Severity::Note, Rule::Claims, Reason::AccountUnknown, at, assumption);
        note.fix = Some(format!("accountId in the store, or --account-id {}=ACCOUNT on the command line", object.name));
        self.findings.push(note);
    }

    fn add_policy(&mut self, object: &'a Object, sound: bool) {
        let spec = self.decoded::<SegmentationPolicySpec>(object, sound, Rule::Policies, Reason::PolicyInvalid);
        let compiled = spec.as_ref().map(|spec| Policy::compile(&object.name, spec));
        let state = match (spec, compiled) {
            (Some(spec), Some(Ok(policy))) => {
                self.judge_policy(object, &spec, &policy);
                let policy = Arc::new(policy);
                self.policies.push((object, policy.clone()));
                PolicyState::Known(policy)
            }
            (_, Some(Err(error))) => {
                let at = object.node.place_of(&blamed(&error, &object.node));
                let message = error.to_string();
                self.findings.push(object.finding(Severity::Error, Rule::Policies, Reason::PolicyInvalid, at, message));
                PolicyState::Unknown("it does not compile".into())
            }
            _ => PolicyState::Unknown("the API server would refuse it".into()),
        };
        self.world.policies.insert(object.name.clone(), state);
    }

    fn judge_policy(&mut self, object: &Object, spec: &SegmentationPolicySpec, policy: &Policy) {
        let labels = &policy.segment_labels;
        for (entry, allow) in spec.allow.iter().enumerate() {
            for (index, text) in allow.keys.iter().enumerate() {
                let Some(pattern) = KeyPattern::parse(text).ok().filter(|p| !p.separates(labels)) else { continue };
                let present: Vec<&str> = pattern.labels().collect();
                let missing: Vec<String> = labels
                    .iter()
                    .filter(|l| !present.contains(&l.as_str()))
                    .map(|l| format!("${{label:{l}}}"))
                    .collect();
                let at = object.node.place_of(&format!("spec.allow[{entry}].keys[{index}]"));
                let message = format!(
                    "the pattern {text:?} lets several segments claim one key: it has neither ${{namespace}} nor {}",
                    missing.join(" and ")
                );
                let mut finding = object.finding(Severity::Warning, Rule::Policies, Reason::SharedPattern, at, message);
                finding.fix = Some(format!("a pattern with {}, or with ${{namespace}}", missing.join("/")));
                self.findings.push(finding);
            }
        }
        for (index, exception) in spec.exceptions.iter().enumerate() {
            let Some((field, why)) = fault_of(exception, self.now) else { continue };
            let at = object.node.place_of(format!("spec.exceptions[{index}].{field}").trim_end_matches('.'));
            let message = format!("the exception {:?} of rule {:?} {why}", exception.reason, exception.rule);
            self.findings.push(object.finding(Severity::Error, Rule::Policies, Reason::InvalidException, at, message));
        }
    }

    fn add_claim(&mut self, object: &'a Object, sound: bool) {
        self.tally.scoped_secrets += 1;
        let Some(spec) = self.decoded::<ScopedSecretSpec>(object, sound, Rule::Schema, Reason::SpecInvalid) else {
            self.tally.not_judged += 1;
            return;
        };
        self.check_projection(object, &spec);
        self.check_end(object, &spec);
        self.check_revoke(object);
        let claim = claim_of(object, &spec, self.claims.len());
        let secret = claim.secret();
        let at = match object.node.place_of("spec.target.name") {
            at if spec.target.as_ref().is_some_and(|t| t.name.is_some()) => at,
            _ => object.node.place_of("metadata.name"),
        };
        if let Some((first, place)) = self.targets.get(&secret).filter(|(first, _)| first.name != object.name) {
            let message = format!(
                "the Secret {:?} is already written by ScopedSecret {:?} ({}:{})",
                &*secret.name, first.name, first.file, place.line
            );
            let mut finding =
                object.finding(Severity::Error, Rule::ManagedSecrets, Reason::TargetConflict, at, message);
            finding.fix = Some("another target.name".into());
            self.findings.push(finding);
        } else {
            self.targets.insert(secret, (object, at));
        }
        self.world.put_claim(claim.clone());
        let (asks, consumers) = (asks_of(&spec, &object.node), Granted::consumers_of(&spec));
        self.claims.push(Asked { object, claim, asks, consumers });
    }

    /// Of an end that is reckoned from a creation that is yet to come nothing can be said.
    fn check_end(&mut self, object: &Object, spec: &ScopedSecretSpec) {
        if spec.expiration_time.as_ref().is_none_or(|end| end.0 > self.now) {
            return;
        }
        let at = object.node.place_of("spec.expirationTime");
        let message =
            "expirationTime is in the past: the claim is refused where it is new, and has ended where it is not"
                .to_owned();
        let mut finding = object.finding(Severity::Error, Rule::Claims, Reason::InvalidEnd, at, message);
        finding.fix = Some(Reason::InvalidEnd.fix().into());
        self.findings.push(finding);
    }

    /// What else it says nobody would act on.
    fn check_revoke(&mut self, object: &Object) {
        let written = object.node.text_at(&["metadata", "annotations", REVOKE_ANNOTATION]);
        if written.is_some_and(|value| value != "true" && !value.is_empty()) {
            let at = object.node.place_of("metadata.annotations");
            let message = format!("write {REVOKE_ANNOTATION}: \"true\", or leave it out");
            let reason = Reason::RevocationNotAllowed;
            self.findings.push(object.finding(Severity::Error, Rule::Revocations, reason, at, message));
        }
    }

    /// What the projection refuses whatever the values are. The claim is judged all the same.
    fn check_projection(&mut self, object: &Object, spec: &ScopedSecretSpec) {
        if let Err(refused) = rotation::plan(spec) {
            let field = if refused.reason == Reason::InvalidSchedule { "schedule" } else { "overlap" };
            let at = object.node.place_of(&format!("spec.rotation.{field}"));
            let mut finding = object.finding(Severity::Error, Rule::Claims, refused.reason, at, refused.message);
            finding.fix = Some(refused.reason.fix().into());
            self.findings.push(finding);
        }
        let Err(refused) = projection::check_spec(spec) else { return };
        let path =
            if refused.reason == Reason::TargetTypeInvalid { "spec.target.type" } else { "spec.target.template" };
        let at = object.node.place_of(path);
        let mut finding = object.finding(Severity::Error, Rule::Claims, refused.reason, at, refused.message);
        finding.fix = Some(refused.reason.fix().into());
        self.findings.push(finding);
    }

    /// The spec as Rust has it. Sound ones always decode; if one does not, the schema says less than the types.
    fn decoded<T: serde::de::DeserializeOwned>(
        &mut self,
        object: &Object,
        sound: bool,
        rule: Rule,
        reason: Reason,
    ) -> Option<T> {
        let spec = object.node.get("spec").filter(|_| sound)?;
        match serde_json::from_value(spec.to_stored_json()) {
            Ok(spec) => Some(spec),
            Err(error) => {
                let at = object.node.place_of("spec");
                self.findings.push(object.finding(Severity::Error, rule, reason, at, format!("spec: {error}")));
                None
            }
        }
    }

    /// A policy that would tear a namespace in two, or give two segments one name, is refused, whether or not anything is claimed there.
    fn judge_segments(&mut self) {
        for (place, (object, policy)) in self.policies.iter().enumerate() {
            let earlier = &self.policies[..place];
            let segment_under = |policy: &Policy, name: &str, labels| {
                policy.selects(name, labels).then(|| policy.segment(labels).ok()).flatten()
            };
            let mut torn: BTreeSet<Arc<str>> = BTreeSet::new();
            for (name, labels) in &self.world.namespaces {
                let Some(own) = segment_under(policy, name, labels) else { continue };
                let disagrees = |other: &Policy| segment_under(other, name, labels).is_some_and(|theirs| theirs != own);
                if earlier.iter().any(|(_, other)| disagrees(other)) {
                    torn.insert(name.clone());
                }
            }
            let namesakes = |count: usize| {
                namesakes(self.policies[..count].iter().map(|(_, policy)| &**policy), self.world.namespaces.iter())
            };
            let message = match torn.is_empty() {
                false => disagreement(&torn),
                true => {
                    let known = namesakes(place);
                    let all = namesakes(place + 1);
                    let new = all
                        .iter()
                        .find(|(name, bearers)| known.get(*name).is_none_or(|known| known.len() < bearers.len()));
                    let Some((name, bearers)) = new else { continue };
                    told(name, bearers)
                }
            };
            let at = object.node.place_of("spec.segment.labels");
            let mut finding = object.finding(Severity::Error, Rule::Policies, Reason::SegmentConflict, at, message);
            finding.fix = Some(Reason::SegmentConflict.fix().into());
            self.findings.push(finding);
        }
    }

    /// Asks about every claim, then about what stands around them.
    pub fn judge(&mut self) {
        self.judge_segments();
        let mut granted = Vec::new();
        for Asked { object, claim, asks, consumers } in std::mem::take(&mut self.claims) {
            if !self.world.namespaces.contains_key(&claim.object.namespace) {
                self.findings.push(namespace_missing(object, &claim.object.namespace));
                continue;
            }
            if self.broken_namespaces.contains(&*claim.object.namespace) {
                self.tally.not_judged += 1;
                continue;
            }
            let refusal = match authorize(&claim, &self.world, self.now) {
                Verdict::Allowed(grant) => {
                    if let Some(refusal) = may_rotate(&claim, &self.world, self.now) {
                        let at = object.node.place_of("spec.rotation");
                        let mut finding =
                            object.finding(Severity::Error, Rule::Claims, refusal.reason, at, refusal.message);
                        finding.fix = Some(refusal.reason.fix().into());
                        self.findings.push(finding);
                    } else {
                        self.tally.allowed += 1;
                    }
                    let secret = claim.target.to_string();
                    let keys: BTreeSet<String> =
                        grant.keys.iter().map(|key| key.canonical.as_str().to_owned()).collect();
                    let keys: Vec<String> = keys.into_iter().collect();
                    let lendable = Lendable {
                        uid: claim.uid.to_string(),
                        secret,
                        held: Some(keys.clone()),
                        keys,
                        stands: true,
                        standing: Standing::Allowed,
                        rotates: claim.rotates.is_some(),
                        out_of_sync: false,
                        unrotatable: may_rotate(&claim, &self.world, self.now).map(|refusal| refusal.reason),
                        revoked: None,
                        has_ended: false,
                        value_since: None,
                    };
                    self.lendable.insert(claim.object.clone(), lendable);
                    let keys = grant.keys.into_iter().map(|key| key.canonical).collect();
                    granted.push(Granted { object, claim, keys, consumers });
                    continue;
                }
                Verdict::Undecided(refusal) if self.waits_for_correction(&refusal, &claim) => {
                    self.tally.not_judged += 1;
                    continue;
                }
                Verdict::Refused(refusal) | Verdict::Undecided(refusal) => refusal,
            };
            let before = self.findings.len();
            self.blame_each_key(object, &claim, &asks);
            if self.findings.len() == before {
                self.findings.push(refused(object, refusal, object.node.at));
            }
        }
        self.judge_grants();
        self.findings.extend(around::judge(&mut self.world, &granted, &self.others, self.now));
    }

    fn judge_grants(&mut self) {
        for (object, spec) in std::mem::take(&mut self.grants) {
            let namespace = object.namespace.as_deref().unwrap_or_default();
            if !self.world.namespaces.contains_key(namespace) {
                self.findings.push(namespace_missing(object, namespace));
            } else if !self.broken_namespaces.contains(namespace) {
                let claim = self.lendable.get(&ObjectName::new(namespace, &spec.scoped_secret_ref.name));
                let limits = governance(namespace, &self.world, self.now).into();
                self.findings.extend(grants::judge(object, &spec, claim, limits, self.now));
            }
        }
    }

    /// Whether the verdict is open only because something else in the input, already reported, must be corrected.
    fn waits_for_correction(&self, refusal: &Refusal, claim: &Claim) -> bool {
        match refusal.reason {
            Reason::PolicyUnknown => true,
            Reason::AccountUnknown => self.broken_stores.contains(&*claim.store),
            _ => false,
        }
    }

    /// A claim is refused for its first key that is not allowed; the user wants to see them all, each at its line.
    fn blame_each_key(&mut self, object: &Object, claim: &Claim, asks: &[Ask]) {
        let mut said = BTreeSet::new();
        for ask in asks {
            let alone = Claim { asks: [(ask.key.clone(), ask.version.clone())].into(), ..claim.clone() };
            let (Verdict::Refused(refusal) | Verdict::Undecided(refusal)) = authorize(&alone, &self.world, self.now)
            else {
                continue;
            };
            if self.waits_for_correction(&refusal, claim) || !said.insert((refusal.reason, refusal.message.clone())) {
                continue;
            }
            let at = place_of(refusal.reason, &object.node).unwrap_or(ask.at);
            let mut finding = refused(object, refusal, at);
            if finding.reason == Reason::KeyNotAllowed && !self.world.stores.contains_key(&*claim.store) {
                self.blame_store(&mut finding, object, &claim.store);
                return self.findings.push(finding);
            }
            self.findings.push(finding);
        }
    }

    /// No policy speaks of the store, and the input has none of that name: the name is wrong rather than the keys.
    fn blame_store(&self, finding: &mut Finding, object: &Object, store: &str) {
        finding.location = Some(object.location(object.node.place_of("spec.storeRef.name")));
        finding.message.push_str(&format!("; there is no ScopedSecretStore {store:?} in the input"));
        finding.fix = nearest(store, self.world.stores.keys().map(String::as_str)).or(finding.fix.take());
    }
}

/// The claim of a ScopedSecret; of two, the one that stands later in the input is the younger.
fn claim_of(object: &Object, spec: &ScopedSecretSpec, position: usize) -> Claim {
    let name = ObjectName::new(object.namespace.as_deref().unwrap_or_default(), &object.name);
    let created = Timestamp::from_second(i64::try_from(position).unwrap_or(i64::MAX)).unwrap_or(Timestamp::MAX);
    let claim = Claim::from_spec(spec, name, format!("{position:020}").into(), created);
    Claim { ends: None, ..claim }
}

fn asks_of(spec: &ScopedSecretSpec, node: &Node) -> Vec<Ask> {
    let places = (0..spec.data.len())
        .map(|index| format!("spec.data[{index}].remoteRef.key"))
        .chain((0..spec.data_from.len()).map(|index| format!("spec.dataFrom[{index}].remoteRef.key")));
    let asks = spec.remote_refs().zip(places);
    asks.map(|((key, stage, id), path)| Ask {
        key: key.into(),
        version: VersionAsked::of(stage, id),
        at: node.place_of(&path),
    })
    .collect()
}

/// Where a refusal points; None for one key of the claim.
fn place_of(reason: Reason, node: &Node) -> Option<Place> {
    let path = match reason {
        Reason::NoPolicy | Reason::SegmentLabelMissing | Reason::SegmentConflict | Reason::PolicyUnknown => {
            return Some(namespace_place(node));
        }
        Reason::ConsumersRequired => "spec.consumers",
        Reason::RetainNotAllowed => "spec.deletionPolicy",
        Reason::TargetTypeNotAllowed => "spec.target.type",
        Reason::StoreNotFound | Reason::AccountUnknown => "spec.storeRef.name",
        _ => return None,
    };
    Some(node.place_of(path))
}

fn namespace_place(node: &Node) -> Place {
    let metadata = node.get("metadata");
    let field = if metadata.is_some_and(|m| m.get("namespace").is_some()) { "namespace" } else { "name" };
    node.place_of(&format!("metadata.{field}"))
}

fn refused(object: &Object, refusal: Refusal, at: Place) -> Finding {
    let mut finding = object.finding(Severity::Error, Rule::Claims, refusal.reason, at, refusal.message);
    finding.fix = Some(match refusal.reason {
        Reason::StoreNotFound => "the name of a store; if it exists, add its file to the command line".into(),
        Reason::NoPolicy => format!("{} If there is a policy, add its file to the command line.", refusal.reason.fix()),
        reason => reason.fix().to_owned(),
    });
    finding
}

fn namespace_missing(object: &Object, namespace: &str) -> Finding {
    let at = namespace_place(&object.node);
    let message = format!(
        "namespace {namespace:?} is not in the input: its labels are unknown, and so is whether this is allowed"
    );
    let mut finding = object.finding(Severity::Error, Rule::Claims, Reason::PolicyUnknown, at, message);
    let written = object.node.text_at(&["metadata", "namespace"]).is_some_and(|n| !n.is_empty());
    let or = if written { "" } else { "; or metadata.namespace, or -n NAMESPACE" };
    finding.fix = Some(format!("the file with `kind: Namespace`, `name: {namespace}` on the command line as well{or}"));
    finding
}

/// The part of a policy that does not compile.
fn blamed(error: &InvalidPolicy, node: &Node) -> String {
    match error {
        InvalidPolicy::NoSegmentLabels => "spec.segment.labels".into(),
        InvalidPolicy::PlaceholderNotASegmentLabel { entry, .. } => format!("spec.allow[{entry}].keys"),
        InvalidPolicy::SelectorNotASegmentLabel(_) => "spec.namespaceSelector".into(),
        InvalidPolicy::Subject { place, .. } => format!("spec.{place}"),
        InvalidPolicy::MaxTtl(_) => "spec.rules.grants.maxTTL".into(),
        InvalidPolicy::MaxAge(_) => "spec.rules.maxAge".into(),
        InvalidPolicy::Pattern { entry, pattern, .. } => {
            let keys = node.get("spec").and_then(|s| s.get("allow")).and_then(Node::items);
            let keys = keys.and_then(|allow| allow.get(*entry)?.get("keys")?.items());
            let index = keys.and_then(|keys| keys.iter().position(|k| k.text() == Some(pattern))).unwrap_or_default();
            format!("spec.allow[{entry}].keys[{index}]")
        }
    }
}
