//! The CustomResourceDefinitions: there, served, and of this version.

use super::installed::{Guards, Installed};
use crate::api::{self, Reason};
use crate::cli::cluster::Seen;
use crate::cli::report::{Finding, Outcome, Rule, Severity, Subject};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;

const KIND: &str = "CustomResourceDefinition";

/// Nothing is installed: one finding instead of twenty, and what rules that were left behind do.
pub fn nothing(guards: &Guards, outcome: &mut Outcome) {
    let message = "Scoped Secrets is not installed in this cluster: it has none of its kinds and no operator";
    let subject = Subject::cluster(KIND, "scopedsecrets.scopedsecrets.io");
    let finding = Finding::live(Severity::Error, Rule::Installation, Reason::KindMissing, subject, message);
    outcome.findings.push(finding.mend(
        "kubectl scoped-secrets check --pre says whether it can be; kubectl apply --server-side -k deploy/ installs it; kubectl scoped-secrets audit looks at Secrets without it",
    ));
    for kind in api::crds().iter().filter(|kind| at_a_loss(guards, kind).is_some()) {
        outcome.push(unserved(guards, kind, "it is not there"));
    }
}

/// Each kind.
pub fn judge(found: &Installed, outcome: &mut Outcome) {
    let wanted = api::crds();
    if found.kinds.values().any(|kind| *kind == Seen::Barred) {
        // Whether they serve is seen all the same.
        if !found.observed.installed {
            let subject = Subject::cluster(KIND, "scopedsecrets.scopedsecrets.io");
            let message = "the API server does not serve it";
            outcome.find(Severity::Error, Rule::Installation, Reason::KindMissing, subject, message);
        }
        return;
    }
    let well = format!("{} kinds, of version {}", wanted.len(), env!("CARGO_PKG_VERSION"));
    outcome.part(|| well, |outcome| wanted.iter().for_each(|crd| judge_kind(found, crd, outcome)));
}

fn judge_kind(found: &Installed, wanted: &CustomResourceDefinition, outcome: &mut Outcome) {
    let name = wanted.name_any();
    let missing = |outcome: &mut Outcome, message: &str| outcome.push(unserved(&found.guards, wanted, message));
    let Some(live) = found.kinds.get(&name).and_then(Seen::get) else {
        return missing(outcome, "it is not there");
    };
    if live.metadata.deletion_timestamp.is_some() {
        return missing(outcome, "it is being deleted, and all its objects with it");
    }
    let conditions = live.status.iter().flat_map(|status| status.conditions.iter().flatten());
    if !conditions.into_iter().any(|c| c.type_ == "Established" && c.status == "True") {
        return missing(outcome, "the API server does not serve it yet, or its names are taken");
    }
    let differing = differences(wanted, live);
    if !differing.is_empty() {
        let message =
            format!("it is not the one of version {}: {} differ", env!("CARGO_PKG_VERSION"), differing.join(", "));
        outcome.find(Severity::Error, Rule::Installation, Reason::KindOutdated, Subject::cluster(KIND, &name), message);
    }
}

/// A kind is not served, and what becomes of the rules that take their parameters from it.
fn unserved(guards: &Guards, kind: &CustomResourceDefinition, message: &str) -> Finding {
    let (mut message, mut mend) = (message.to_owned(), Reason::KindMissing.fix().to_owned());
    if let Some(loss) = at_a_loss(guards, kind) {
        message.push_str(&format!(
            ", and it is the kind of the parameters of {}: the API server refuses every write of what these rules are for ({}), in the whole cluster, kube-system included (where the kind went while they were in force: at the latest from its next start on)",
            loss.policies.join(", "),
            loss.resources.join(", ")
        ));
        mend.push_str("; or lift these rules, which ends the refusals at once: ");
        mend.push_str(&match loss.bindings.as_slice() {
            [] => "delete their ValidatingAdmissionPolicyBindings".to_owned(),
            bindings => format!("kubectl delete validatingadmissionpolicybindings {}", bindings.join(" ")),
        });
    }
    let subject = Subject::cluster(KIND, &kind.name_any());
    Finding::live(Severity::Error, Rule::Installation, Reason::KindMissing, subject, message).mend(mend)
}

/// Rules that cannot be asked, since the kind of their parameters is not there.
#[derive(Default)]
struct Loss {
    policies: Vec<String>,
    /// By which they are in force; none where these may not be looked at.
    bindings: Vec<String>,
    /// What they are for.
    resources: Vec<String>,
}

fn at_a_loss(guards: &Guards, kind: &CustomResourceDefinition) -> Option<Loss> {
    let bindings = guards.bindings.get();
    let mut loss = Loss::default();
    for (name, policy) in guards.policies.get()? {
        let Some(spec) = &policy.spec else { continue };
        let parameter = spec.param_kind.as_ref().and_then(|parameter| parameter.kind.as_deref());
        if parameter != Some(kind.spec.names.kind.as_str()) {
            continue;
        }
        let binds = |binding: &ValidatingAdmissionPolicyBinding| {
            binding.spec.as_ref().is_some_and(|spec| spec.policy_name.as_ref() == Some(name))
        };
        let all = bindings.into_iter().flatten();
        let bound: Vec<String> = all.filter(|(_, binding)| binds(binding)).map(|(name, _)| name.clone()).collect();
        if bindings.is_some() && bound.is_empty() {
            continue;
        }
        loss.policies.push(name.clone());
        loss.bindings.extend(bound);
        let rules = spec.match_constraints.iter().flat_map(|matched| matched.resource_rules.iter().flatten());
        for resource in rules.flat_map(|rule| rule.resources.iter().flatten()) {
            if !resource.contains('/') && !loss.resources.contains(resource) {
                loss.resources.push(resource.clone());
            }
        }
    }
    (!loss.policies.is_empty()).then_some(loss)
}

/// Which parts of the versions differ. What the API server fills in is elsewhere.
fn differences(wanted: &CustomResourceDefinition, live: &CustomResourceDefinition) -> Vec<String> {
    let mut found = Vec::new();
    for version in &wanted.spec.versions {
        let Some(other) = live.spec.versions.iter().find(|v| v.name == version.name) else {
            found.push(format!("versions ({} is missing)", version.name));
            continue;
        };
        let parts = [
            ("schema", version.schema == other.schema),
            ("subresources", version.subresources == other.subresources),
            ("printer columns", version.additional_printer_columns == other.additional_printer_columns),
            ("selectable fields", version.selectable_fields == other.selectable_fields),
            ("served and storage", (version.served, version.storage) == (other.served, other.storage)),
        ];
        found.extend(parts.into_iter().filter(|(_, same)| !same).map(|(part, _)| part.to_owned()));
    }
    if wanted.spec.scope != live.spec.scope {
        found.push("scope".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::installed::tests::healthy;
    use super::*;
    use std::collections::BTreeMap;

    const CLAIMS: &str = "scopedsecrets.scopedsecrets.io";

    fn reasons(bend: impl FnOnce(&mut Installed)) -> Vec<Reason> {
        let mut found = healthy(&[]);
        bend(&mut found);
        let mut outcome = Outcome::default();
        judge(&found, &mut outcome);
        outcome.findings.iter().map(|f| f.reason).collect()
    }

    fn with(found: &mut Installed, bend: impl FnOnce(&mut CustomResourceDefinition)) {
        let Some(Seen::There(crd)) = found.kinds.get_mut(CLAIMS) else { panic!("it is there") };
        bend(crd);
    }

    #[test]
    fn each_kind_is_there_and_of_this_version() {
        assert_eq!(reasons(|_| {}), []);
        assert_eq!(reasons(|f| _ = f.kinds.insert(CLAIMS.into(), Seen::Absent)), [Reason::KindMissing]);
        assert_eq!(reasons(|f| with(f, |crd| crd.status = None)), [Reason::KindMissing]);
        assert_eq!(reasons(|f| with(f, |crd| crd.spec.versions[0].schema = None)), [Reason::KindOutdated]);
        assert_eq!(reasons(|f| with(f, |crd| crd.spec.versions.clear())), [Reason::KindOutdated]);
        assert_eq!(reasons(|f| _ = f.kinds.insert(CLAIMS.into(), Seen::Barred)), [], "a gap says so");
    }

    #[test]
    fn a_rule_without_its_parameters_is_told_of() {
        let said = |kind: &str, bend: fn(&mut Installed)| {
            let mut found = healthy(&[]);
            found.kinds.insert(kind.into(), Seen::Absent);
            bend(&mut found);
            let mut outcome = Outcome::default();
            judge(&found, &mut outcome);
            let finding = outcome.findings.remove(0);
            (finding.message, finding.fix.unwrap())
        };
        let (guards, policies) = ("segmentguards.scopedsecrets.io", "segmentationpolicies.scopedsecrets.io");
        let bound: fn(&mut Installed) = |_| {};
        let unbound: fn(&mut Installed) = |found| found.guards.bindings = Seen::There(BTreeMap::new());
        let unseen: fn(&mut Installed) = |found| found.guards.bindings = Seen::Barred;
        for (kind, bend, words) in [
            (guards, bound, "consumers.scopedsecrets.io"),
            (guards, bound, "(pods, serviceaccounts, "),
            (guards, bound, "kube-system"),
            (guards, unseen, "consumers.scopedsecrets.io"),
            (policies, bound, "the parameters of boundary.scopedsecrets.io:"),
            (policies, bound, "(namespaces)"),
        ] {
            let (message, _) = said(kind, bend);
            assert!(message.contains(words), "{kind}: {words}: {message}");
        }
        let (_, mend) = said(guards, bound);
        let delete = "kubectl delete validatingadmissionpolicybindings consumers-";
        assert!(mend.starts_with(Reason::KindMissing.fix()) && mend.contains(delete), "{mend}");
        assert!(said(guards, unseen).1.ends_with("delete their ValidatingAdmissionPolicyBindings"));
        for (kind, bend) in [(guards, unbound), (CLAIMS, bound)] {
            assert_eq!(said(kind, bend), ("it is not there".to_owned(), Reason::KindMissing.fix().to_owned()));
        }
    }

    #[test]
    fn rules_that_were_left_behind_are_told_of() {
        let told = |guards: &Guards| {
            let mut outcome = Outcome::default();
            nothing(guards, &mut outcome);
            outcome.findings.into_iter().map(|finding| finding.subject.name).collect::<Vec<_>>()
        };
        let Installed { mut guards, .. } = healthy(&[]);
        let mut names = told(&guards);
        names.sort();
        assert_eq!(names, [CLAIMS, "segmentationpolicies.scopedsecrets.io", "segmentguards.scopedsecrets.io"]);
        guards.bindings = Seen::There(BTreeMap::new());
        assert_eq!(told(&guards), [CLAIMS]);
    }
}
