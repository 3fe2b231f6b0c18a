//! The CustomResourceDefinitions: there, served, and of this version.

use super::installed::Installed;
use crate::api::{self, Reason};
use crate::cli::cluster::Seen;
use crate::cli::report::{Finding, Outcome, Rule, Severity, Subject};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;

const KIND: &str = "CustomResourceDefinition";

/// Nothing is installed: one finding instead of twenty.
pub fn nothing(outcome: &mut Outcome) {
    let message = "Scoped Secrets is not installed in this cluster: it has none of its kinds and no operator";
    let subject = Subject::cluster(KIND, "scopedsecrets.scopedsecrets.io");
    let finding = Finding::live(Severity::Error, Rule::Installation, Reason::KindMissing, subject, message);
    outcome.findings.push(finding.mend(
        "kubectl scoped-secrets check --pre says whether it can be; kubectl apply --server-side -k deploy/ installs it; kubectl scoped-secrets audit looks at Secrets without it",
    ));
}

/// Each kind.
pub fn judge(found: &Installed, outcome: &mut Outcome) {
    let wanted = api::crds();
    if found.kinds.values().any(|kind| *kind == Seen::Barred) {
        // Whether they serve is seen all the same.
        if !found.observed.installed {
            missing(outcome, "scopedsecrets.scopedsecrets.io", "the API server does not serve it");
        }
        return;
    }
    let well = format!("{} kinds, of version {}", wanted.len(), env!("CARGO_PKG_VERSION"));
    outcome.part(|| well, |outcome| wanted.iter().for_each(|crd| judge_kind(found, crd, outcome)));
}

fn judge_kind(found: &Installed, wanted: &CustomResourceDefinition, outcome: &mut Outcome) {
    let name = wanted.name_any();
    let missing = |outcome: &mut Outcome, name: &str, message: &str| {
        missing(outcome, name, &format!("{message}{}", at_a_loss(found, wanted).unwrap_or_default()));
    };
    let Some(live) = found.kinds.get(&name).and_then(Seen::get) else {
        return missing(outcome, &name, "it is not there");
    };
    if live.metadata.deletion_timestamp.is_some() {
        return missing(outcome, &name, "it is being deleted, and all its objects with it");
    }
    let conditions = live.status.iter().flat_map(|status| status.conditions.iter().flatten());
    if !conditions.into_iter().any(|c| c.type_ == "Established" && c.status == "True") {
        return missing(outcome, &name, "the API server does not serve it yet, or its names are taken");
    }
    let differing = differences(wanted, live);
    if !differing.is_empty() {
        let message =
            format!("it is not the one of version {}: {} differ", env!("CARGO_PKG_VERSION"), differing.join(", "));
        outcome.find(Severity::Error, Rule::Installation, Reason::KindOutdated, Subject::cluster(KIND, &name), message);
    }
}

/// What becomes of the rules that take their parameters from a kind that is not there.
fn at_a_loss(found: &Installed, kind: &CustomResourceDefinition) -> Option<String> {
    let takes = |policy: &&ValidatingAdmissionPolicy| {
        let parameter = policy.spec.as_ref().and_then(|spec| spec.param_kind.as_ref());
        parameter.is_some_and(|p| p.kind.as_deref() == Some(&kind.spec.names.kind))
    };
    let policies = found.guards.policies.get()?.values().filter(takes).map(ResourceExt::name_any).collect::<Vec<_>>();
    (!policies.is_empty()).then(|| {
        format!(
            ", and {} take their parameters from it: once the API server restarts they refuse whatever they look at, pods of the whole cluster and of kube-system among it; apply crds/ again, or delete their ValidatingAdmissionPolicyBindings",
            policies.join(", ")
        )
    })
}

fn missing(outcome: &mut Outcome, name: &str, message: &str) {
    outcome.find(Severity::Error, Rule::Installation, Reason::KindMissing, Subject::cluster(KIND, name), message);
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
        let said = |kind: &str| {
            let mut found = healthy(&[]);
            found.kinds.insert(kind.into(), Seen::Absent);
            let mut outcome = Outcome::default();
            judge(&found, &mut outcome);
            outcome.findings.remove(0).message
        };
        let guards = said("segmentguards.scopedsecrets.io");
        assert!(guards.contains("consumers.scopedsecrets.io") && guards.contains("kube-system"), "{guards}");
        assert!(said("segmentationpolicies.scopedsecrets.io").contains("boundary.scopedsecrets.io"));
        assert_eq!(said(CLAIMS), "it is not there");
    }
}
