//! Before an installation: is the cluster new enough, may the reader install, and what is in the way.

use super::installed::by_name;
use crate::admission::identities::Installation;
use crate::admission::rules::guards;
use crate::admission::webhook_configuration::CONFIGURATION;
use crate::api::{self, GROUP, MANAGED_BY, MANAGED_BY_LABEL, Reason};
use crate::cli::cluster::{Cluster, Failure, Seen};
use crate::cli::installation::installed;
use crate::cli::report::text::count;
use crate::cli::report::{Finding, Outcome, Rule, Severity, Subject};
use crate::leader::LEASE;
use futures::future::try_join_all;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use std::collections::{BTreeMap, BTreeSet};

/// What an installation would stand on.
pub struct Ground {
    /// Where it would be.
    pub installation: Installation,
    /// The one that the cluster has, as far as the reader may tell.
    pub installed: Option<Installation>,
    /// Such as v1.36.3.
    pub version: String,
    /// Served API resources that are needed: `group/version resource`, whether it is.
    pub apis: Vec<(String, bool)>,
    /// What the installer needs: verb, resource, whether the reader may.
    pub permissions: Vec<(&'static str, String, bool)>,
    /// CRDs of our group by name, and whether they are being deleted.
    pub kinds: Seen<BTreeMap<String, bool>>,
    /// Admission policies and bindings under our names: kind, name, whether labelled as ours.
    pub rules: Seen<Vec<(&'static str, String, bool)>>,
    /// Whether the webhook configuration under our name is labelled as ours.
    pub configuration: Seen<bool>,
    /// Whether the operator's namespace is being deleted.
    pub namespace: Seen<bool>,
    /// Secrets that carry our label.
    pub managed: Seen<usize>,
}

/// What must be served.
const APIS: &[(&str, &[&str])] = &[
    (
        "admissionregistration.k8s.io/v1",
        &["validatingadmissionpolicies", "validatingadmissionpolicybindings", "validatingwebhookconfigurations"],
    ),
    ("apiextensions.k8s.io/v1", &["customresourcedefinitions"]),
    ("rbac.authorization.k8s.io/v1", &["clusterroles", "roles"]),
    ("apps/v1", &["deployments"]),
    ("coordination.k8s.io/v1", &["leases"]),
    ("events.k8s.io/v1", &["events"]),
];

/// What `kubectl apply --server-side -k deploy/` writes: group, resource, whether in the operator's namespace.
const WRITES: &[(&str, &str, bool)] = &[
    ("", "namespaces", false),
    ("apiextensions.k8s.io", "customresourcedefinitions", false),
    ("rbac.authorization.k8s.io", "clusterroles", false),
    ("rbac.authorization.k8s.io", "clusterrolebindings", false),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies", false),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings", false),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", false),
    ("", "serviceaccounts", true),
    ("", "services", true),
    ("rbac.authorization.k8s.io", "roles", true),
    ("rbac.authorization.k8s.io", "rolebindings", true),
    ("apps", "deployments", true),
    ("policy", "poddisruptionbudgets", true),
    ("networking.k8s.io", "networkpolicies", true),
];

/// What Kubernetes asks besides: of who writes a role with more than they have, who binds one, and who writes a rule with parameters.
const ASKED: &[(&str, &str, &str, bool)] = &[
    ("escalate", "rbac.authorization.k8s.io", "clusterroles", false),
    ("bind", "rbac.authorization.k8s.io", "clusterroles", false),
    ("escalate", "rbac.authorization.k8s.io", "roles", true),
    ("bind", "rbac.authorization.k8s.io", "roles", true),
    ("get", GROUP, "segmentguards", false),
    ("get", GROUP, "segmentationpolicies", false),
];

const OURS: (&str, &str) = ("app.kubernetes.io/part-of", "scoped-secrets");

/// Looks.
pub async fn look(cluster: &Cluster, installation: &Installation) -> Result<Ground, Failure> {
    let client = &cluster.client;
    let version = client.apiserver_version().await.map_err(|error| cluster.failure(&error, "get", "/version"))?;
    let mut apis = Vec::new();
    for (group, resources) in APIS {
        let answer = client.list_api_group_resources(group).await;
        let served = cluster.see(answer, "get", &format!("/apis/{group}"), None)?.found();
        let names: BTreeSet<String> = served.into_iter().flat_map(|list| list.resources).map(|r| r.name).collect();
        apis.extend(resources.iter().map(|resource| (format!("{resource} in {group}"), names.contains(*resource))));
    }
    let place = &installation.namespace;
    let writes = WRITES
        .iter()
        .flat_map(|(group, resource, own)| ["create", "patch"].map(|verb| (verb, *group, *resource, *own)));
    let asked = writes.chain(ASKED.iter().copied()).map(|(verb, group, resource, own)| async move {
        let may = cluster.may(verb, group, resource, own.then_some(place.as_str()), None).await?;
        let dot = if group.is_empty() { "" } else { "." };
        Ok::<_, Failure>((verb, format!("{resource}{dot}{group}"), may))
    });
    let permissions = try_join_all(asked).await?;
    let all = ListParams::default;
    let kinds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let kinds = cluster.list_metadata(&kinds, all()).await?.map(|list| {
        let group = format!(".{GROUP}");
        let ours = list.into_iter().filter(|crd| crd.name_any().ends_with(&group));
        ours.map(|crd| (crd.name_any(), crd.metadata.deletion_timestamp.is_some())).collect()
    });
    let labelled = |labels: &BTreeMap<String, String>| labels.get(OURS.0).is_some_and(|part| part == OURS.1);
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    let policies = cluster.list_metadata(&policies, all()).await?;
    let bindings = cluster.list_metadata(&bindings, all()).await?;
    let under = |kind, list: BTreeMap<String, bool>| {
        let group = format!(".{GROUP}");
        list.into_iter().filter(move |(name, _)| name.ends_with(&group)).map(move |(name, ours)| (kind, name, ours))
    };
    let policies = policies.map(|list| by_name(list).into_iter().map(|(n, o)| (n, labelled(o.labels()))).collect());
    let bindings = bindings.map(|list| by_name(list).into_iter().map(|(n, o)| (n, labelled(o.labels()))).collect());
    let rules = match (policies, bindings) {
        (Seen::There(policies), Seen::There(bindings)) => {
            let policies = under("ValidatingAdmissionPolicy", policies);
            Seen::There(policies.chain(under("ValidatingAdmissionPolicyBinding", bindings)).collect())
        }
        (Seen::Barred, _) | (_, Seen::Barred) => Seen::Barred,
        _ => Seen::Absent,
    };
    let configurations: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let secrets: Api<Secret> = Api::all(client.clone());
    let managed = all().labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}"));
    Ok(Ground {
        installation: installation.clone(),
        installed: installed(cluster).await?,
        version: version.git_version,
        apis,
        permissions,
        kinds,
        rules,
        configuration: cluster.get_metadata(&configurations, CONFIGURATION).await?.map(|c| labelled(c.labels())),
        namespace: cluster.get_metadata(&namespaces, place).await?.map(|n| n.metadata.deletion_timestamp.is_some()),
        managed: cluster.list_metadata(&secrets, managed).await?.map(|list| list.len()),
    })
}

/// Judges. Pure.
pub fn judge(ground: &Ground) -> Outcome {
    let mut outcome = Outcome::default();
    version(ground, &mut outcome);
    permissions(ground, &mut outcome);
    in_the_way(ground, &mut outcome);
    outcome
}

/// The oldest Kubernetes that this version is made for; the chart says the same (kubeVersion).
pub const OLDEST: (u32, u32) = (1, 33);

fn version(ground: &Ground, outcome: &mut Outcome) {
    let numbers = ground.version.trim_start_matches('v');
    let mut parts = numbers.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse::<u32>().ok());
    match (parts.next(), parts.next()) {
        (Some(major), Some(minor)) if (major, minor) >= OLDEST => {
            outcome.pass(format!("Kubernetes {} ({}.{} or newer is needed)", ground.version, OLDEST.0, OLDEST.1));
        }
        _ => {
            let message = format!("it is {}; {}.{} or newer is needed", ground.version, OLDEST.0, OLDEST.1);
            let subject = Subject::cluster("Kubernetes", "");
            outcome.find(Severity::Error, Rule::Installation, Reason::KubernetesTooOld, subject, message);
        }
    }
    let missing = ground.apis.iter().filter(|(_, served)| !served);
    outcome.part(
        || format!("{} that the operator needs are served", count(ground.apis.len(), "API", "APIs")),
        |outcome| {
            for (api, _) in missing {
                let message = format!("the API server does not serve {api}");
                let subject = Subject::cluster("APIService", "");
                outcome.find(Severity::Error, Rule::Installation, Reason::ApiMissing, subject, message);
            }
        },
    );
}

fn permissions(ground: &Ground, outcome: &mut Outcome) {
    let mut lacking: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (verb, resource, _) in ground.permissions.iter().filter(|(.., may)| !may) {
        lacking.entry(resource).or_default().push(verb);
    }
    outcome.part(
        || "you may install: everything in deploy/ may be created".to_owned(),
        |outcome| {
            for (resource, verbs) in lacking {
                let message = format!("you may not {} {resource}, which an installation does", verbs.join(", "));
                let subject = Subject::cluster(resource, "");
                outcome.find(Severity::Error, Rule::Permissions, Reason::PermissionMissing, subject, message);
            }
        },
    );
}

fn in_the_way(ground: &Ground, outcome: &mut Outcome) {
    let wanted: BTreeSet<String> = api::crds().iter().map(ResourceExt::name_any).collect();
    let there =
        ground.kinds.get().into_iter().flatten().filter(|(name, deleting)| !**deleting && wanted.contains(*name));
    let there = there.count();
    let place = &ground.installation.namespace;
    let elsewhere = ground.installed.as_ref().map(|found| &found.namespace).filter(|namespace| *namespace != place);
    let judge = |outcome: &mut Outcome| {
        let left = |outcome: &mut Outcome, severity, subject, message: &str| {
            outcome.find(severity, Rule::Installation, Reason::Leftover, subject, message);
        };
        if let Some(namespace) = elsewhere {
            let message = format!(
                "Scoped Secrets is installed in namespace {namespace}, and a cluster has one installation: this would be a second one, in {place}"
            );
            let subject = Subject::cluster("Namespace", namespace);
            let found = Finding::live(Severity::Error, Rule::Installation, Reason::Leftover, subject, message);
            outcome.findings.push(found.mend(format!(
                "upgrade it where it is (check --pre --operator-namespace {namespace}), or take it away first, as docs/operations.md says"
            )));
        }
        for (name, deleting) in ground.kinds.get().into_iter().flatten() {
            let subject = Subject::cluster("CustomResourceDefinition", name);
            match (deleting, wanted.contains(name)) {
                (true, _) => left(outcome, Severity::Error, subject, "it is being deleted: wait until it is gone"),
                (false, true) => {}
                (false, false) => left(outcome, Severity::Warning, subject, "no kind of this version has this name"),
            }
        }
        let objects: Vec<_> = guards(&ground.installation).iter().flat_map(|guard| guard.objects()).collect();
        let known: BTreeSet<&str> = objects.iter().filter_map(|o| o["metadata"]["name"].as_str()).collect();
        for (kind, name, ours) in ground.rules.get().into_iter().flatten() {
            let subject = Subject::cluster(kind, name);
            if !ours {
                left(
                    outcome,
                    Severity::Error,
                    subject,
                    "it has a name of ours and is not ours: an installation would overwrite it",
                );
            } else if !known.contains(name.as_str()) {
                left(
                    outcome,
                    Severity::Warning,
                    subject,
                    "no rule of this version has this name: it is of another one",
                );
            }
        }
        if ground.configuration == Seen::There(false) {
            let subject = Subject::cluster("ValidatingWebhookConfiguration", CONFIGURATION);
            left(
                outcome,
                Severity::Error,
                subject,
                "it has our name and is not ours: an installation would overwrite it",
            );
        }
        if ground.namespace == Seen::There(true) {
            let subject = Subject::cluster("Namespace", place);
            left(outcome, Severity::Error, subject, "it is being deleted: nothing can be created in it");
        }
        if let Some(managed) = ground.managed.get().filter(|n| **n > 0 && there == 0) {
            let message = format!(
                "{} the label of Secrets that this operator writes, and it is not installed",
                count(*managed, "Secret carries", "Secrets carry")
            );
            left(outcome, Severity::Warning, Subject::cluster("Secret", ""), &message);
        }
    };
    let seen = ground.kinds != Seen::Barred && ground.rules != Seen::Barred;
    if seen {
        outcome.part(|| "nothing is in the way".to_owned(), judge);
    } else {
        judge(outcome);
    }
    if there > 0 && elsewhere.is_none() {
        let message = format!(
            "Scoped Secrets is installed already ({}): this would be an upgrade",
            count(there, "kind", "kinds")
        );
        let subject = Subject::namespaced("Lease", place, LEASE);
        let note = Finding::live(Severity::Note, Rule::Installation, Reason::Leftover, subject, message);
        outcome.findings.push(note.mend("kubectl scoped-secrets check says how it is"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare() -> Ground {
        Ground {
            installation: Installation::default(),
            installed: None,
            version: "v1.36.3".into(),
            apis: vec![("leases in coordination.k8s.io/v1".into(), true)],
            permissions: vec![("create", "namespaces".into(), true)],
            kinds: Seen::There(BTreeMap::new()),
            rules: Seen::There(vec![]),
            configuration: Seen::Absent,
            namespace: Seen::Absent,
            managed: Seen::There(0),
        }
    }

    fn found(bend: impl FnOnce(&mut Ground)) -> Vec<(Severity, Reason)> {
        let mut ground = bare();
        bend(&mut ground);
        judge(&ground).findings.iter().map(|f| (f.severity, f.reason)).collect()
    }

    #[test]
    fn what_an_installation_needs() {
        let (error, warning) = (Severity::Error, Severity::Warning);
        assert_eq!(found(|_| {}), []);
        for version in ["v1.33.0", "v1.33.1-eks-1234", "v2.0.0", "1.34"] {
            assert_eq!(found(|g| g.version = version.into()), [], "{version}");
        }
        for version in ["v1.32.9", "v1.9.0", "unknown"] {
            assert_eq!(found(|g| g.version = version.into()), [(error, Reason::KubernetesTooOld)], "{version}");
        }
        assert_eq!(found(|g| g.apis[0].1 = false), [(error, Reason::ApiMissing)]);
        assert_eq!(found(|g| g.permissions[0].2 = false), [(error, Reason::PermissionMissing)]);
        let kind = |name: &str, deleting| Seen::There([(format!("{name}.{GROUP}"), deleting)].into());
        assert_eq!(found(|g| g.kinds = kind("scopedsecrets", true)), [(error, Reason::Leftover)]);
        assert_eq!(found(|g| g.kinds = kind("olds", false)), [(warning, Reason::Leftover)]);
        assert_eq!(found(|g| g.kinds = kind("scopedsecrets", false)), [(Severity::Note, Reason::Leftover)]);
        let installed = |namespace: &str| {
            let found = Installation { namespace: namespace.into(), ..Installation::default() };
            move |g: &mut Ground| {
                g.installed = Some(found);
                g.kinds = Seen::There([(format!("scopedsecrets.{GROUP}"), false)].into());
            }
        };
        assert_eq!(found(installed("scoped-secrets")), [(Severity::Note, Reason::Leftover)], "an upgrade");
        assert_eq!(found(installed("elsewhere")), [(error, Reason::Leftover)], "a cluster has one");
        let mut ground = bare();
        installed("elsewhere")(&mut ground);
        let outcome = judge(&ground);
        assert!(outcome.findings[0].message.contains("installed in namespace elsewhere"), "{:?}", outcome.findings);
        assert!(!outcome.passed.contains(&"nothing is in the way".to_owned()), "{:?}", outcome.passed);
        let rule = |name: &str, ours| Seen::There(vec![("ValidatingAdmissionPolicy", name.to_owned(), ours)]);
        assert_eq!(found(|g| g.rules = rule("consumers.scopedsecrets.io", false)), [(error, Reason::Leftover)]);
        assert_eq!(found(|g| g.rules = rule("consumers.scopedsecrets.io", true)), []);
        assert_eq!(found(|g| g.rules = rule("gone.scopedsecrets.io", true)), [(warning, Reason::Leftover)]);
        assert_eq!(found(|g| g.configuration = Seen::There(false)), [(error, Reason::Leftover)]);
        assert_eq!(found(|g| g.namespace = Seen::There(true)), [(error, Reason::Leftover)]);
        assert_eq!(found(|g| g.managed = Seen::There(3)), [(warning, Reason::Leftover)]);
        assert_eq!(found(|g| g.kinds = Seen::Barred), [], "a gap says so itself");
    }
}
