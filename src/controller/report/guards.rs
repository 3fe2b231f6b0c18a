//! Whether the rules are kept at admission: the policies and bindings as `deploy/` has them, and the webhook configuration.
//!
//! Looked at by the leader every now and then, by two small lists. What is missing is told, on every report and in a metric,
//! and never put back: somebody may have broken the glass.

use crate::admission::guard::{Guard, INSTALL_AGAIN, WHILE_UPGRADING};
use crate::admission::identities::Installation;
use crate::admission::rules::{REVIEWED, guards};
use crate::admission::webhook_configuration::CONFIGURATION;
use crate::api::Reason;
use crate::controller::grant::plan::Guarded;
use crate::segmentation::violation::{ObjectRef, Violation};
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ListParams};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

const API_VERSION: &str = "admissionregistration.k8s.io/v1";

/// An object without which, or in which form, a rule is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The rule.
    pub rule: &'static str,
    /// The object's kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The fields of its spec that are not as installed; None: it is not there.
    pub differs: Option<BTreeSet<String>>,
}

impl Missing {
    /// As the report of a segment shows it.
    pub fn violation(&self, segment: &Arc<str>) -> Violation {
        let (what, mend) = match &self.differs {
            None => ("it is not there".to_owned(), INSTALL_AGAIN.to_owned()),
            Some(fields) => {
                let fields = fields.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                // Server-side apply leaves in a list what somebody else added to it.
                let text = format!("it is not as it was installed, or of another version ({fields})");
                (text, format!("{WHILE_UPGRADING}; else delete it, and {INSTALL_AGAIN}"))
            }
        };
        Violation {
            segment: segment.clone(),
            rule: self.rule,
            reason: Reason::GuardMissing,
            object: ObjectRef {
                api_version: API_VERSION.into(),
                kind: self.kind.clone(),
                namespace: None,
                name: self.name.clone(),
            },
            message: format!(
                "{what}, so that rule {} is not kept at admission: {mend}. The operator never does, since somebody may have broken the glass",
                self.rule
            ),
        }
    }
}

/// What is there, by kind and name, with the spec.
pub type Live = BTreeMap<(String, String), Value>;

/// What is missing of what ought to be there. Pure.
pub fn missing(installation: &Installation, live: &Live, configured: bool) -> Vec<Missing> {
    let mut all = Vec::new();
    for guard in guards(installation) {
        for object in guard.objects() {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
            let differs = live.get(&(kind.clone(), name.clone())).map(|spec| differences(&object["spec"], spec));
            if differs.as_ref().is_none_or(|fields| !fields.is_empty()) {
                all.push(Missing { rule: guard.rule, kind, name, differs });
            }
        }
    }
    let reviewed = REVIEWED.iter().filter(|_| !configured);
    all.extend(reviewed.map(|rule| Missing {
        rule,
        kind: "ValidatingWebhookConfiguration".into(),
        name: CONFIGURATION.into(),
        differs: None,
    }));
    all
}

/// The fields of a spec that are not the same.
fn differences(wanted: &Value, live: &Value) -> BTreeSet<String> {
    let fields =
        |of: &Value| -> BTreeSet<String> { of.as_object().into_iter().flatten().map(|(k, _)| k.clone()).collect() };
    let all = fields(wanted).into_iter().chain(fields(live));
    all.filter(|field| wanted.get(field) != live.get(field)).collect()
}

const BINDING: &str = "ValidatingAdmissionPolicyBinding";

/// Whether a rule is kept, and since when as it was installed, by the API server's clock.
pub async fn in_force(client: &Client, guard: &Guard) -> Result<Guarded, kube::Error> {
    let (mut since, mut is_another) = (None, false);
    for object in guard.objects() {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let found = match object["kind"].as_str() {
            Some("ValidatingAdmissionPolicy") => one::<ValidatingAdmissionPolicy>(client, name).await?,
            _ => one::<ValidatingAdmissionPolicyBinding>(client, name).await?,
        };
        match found {
            // A binding says whether what the policy finds is refused: weakened, it is as good as none.
            Some((spec, _)) if object["kind"] == BINDING && !differences(&object["spec"], &spec).is_empty() => {
                return Ok(Guarded::Missing);
            }
            Some((spec, created)) => {
                is_another |= !differences(&object["spec"], &spec).is_empty();
                since = since.max(created);
            }
            None => return Ok(Guarded::Missing),
        }
    }
    Ok(since.filter(|_| !is_another).map_or(Guarded::Another, Guarded::Since))
}

/// The spec of one that is not being deleted, and when it was created.
async fn one<K>(client: &Client, name: &str) -> Result<Option<(Value, Option<Timestamp>)>, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + Debug,
{
    let found = Api::<K>::all(client.clone()).get_opt(name).await?;
    let found = found.filter(|object| object.meta().deletion_timestamp.is_none());
    Ok(found.map(|object| (spec_of(&object), object.meta().creation_timestamp.as_ref().map(|time| time.0))))
}

fn spec_of<K: Serialize>(object: &K) -> Value {
    serde_json::to_value(object).map(|mut value| value["spec"].take()).unwrap_or_default()
}

/// What a look has shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Looked {
    /// What is missing now.
    pub missing: Vec<Missing>,
    /// Which objects those are that are there, by kind and name, and in which form: what went and came back in between is another.
    pub forms: BTreeMap<(String, String), String>,
}

impl Looked {
    /// Whether something that is as it ought to be, and was at the look before, was away or otherwise in between.
    pub fn had_a_gap_since(&self, before: &Self) -> bool {
        let is_missing =
            |look: &Self, of: &(String, String)| look.missing.iter().any(|m| (&m.kind, &m.name) == (&of.0, &of.1));
        let differs =
            |(of, form): (&(String, String), &String)| before.forms.get(of).is_some_and(|before| before != form);
        let mut others = self.forms.iter().filter(|found| differs(*found)).map(|(of, _)| of);
        others.any(|of| !is_missing(self, of) && !is_missing(before, of))
    }
}

/// Reads what is there. Lists by our label, and looks by name for what that does not show: somebody may have taken it off.
pub async fn look(client: &Client, installation: &Installation) -> Result<Looked, kube::Error> {
    let (mut live, mut forms) = (Live::new(), BTreeMap::new());
    read::<ValidatingAdmissionPolicy>(client, installation, &mut live, &mut forms).await?;
    read::<ValidatingAdmissionPolicyBinding>(client, installation, &mut live, &mut forms).await?;
    let configurations: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let configuration = configurations.get_metadata_opt(CONFIGURATION).await?;
    // Its entries are the operator's own, and change.
    let kind = "ValidatingWebhookConfiguration".to_owned();
    let its = configuration.iter().filter_map(|found| found.metadata.uid.clone());
    forms.extend(its.map(|uid| ((kind.clone(), CONFIGURATION.to_owned()), uid)));
    Ok(Looked { missing: missing(installation, &live, configuration.is_some()), forms })
}

fn form(metadata: &ObjectMeta) -> String {
    format!("{} {}", metadata.uid.as_deref().unwrap_or_default(), metadata.generation.unwrap_or_default())
}

async fn read<K>(
    client: &Client,
    installation: &Installation,
    live: &mut Live,
    forms: &mut BTreeMap<(String, String), String>,
) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + Debug,
{
    let api: Api<K> = Api::all(client.clone());
    let kind = K::kind(&()).into_owned();
    let keep = |object: &K| ((K::kind(&()).into_owned(), object.name_any()), spec_of(object));
    let ours = ListParams::default().labels("app.kubernetes.io/part-of=scoped-secrets");
    let wanted = guards(installation).into_iter().flat_map(|guard| guard.objects());
    let names =
        wanted.filter(|o| o["kind"] == kind.as_str()).filter_map(|o| Some(o["metadata"]["name"].as_str()?.to_owned()));
    let names: BTreeSet<String> = names.collect();
    let listed = api.list(&ours).await?.items;
    live.extend(listed.iter().map(keep));
    let its = |found: &K| ((kind.clone(), found.name_any()), form(found.meta()));
    forms.extend(listed.iter().filter(|found| names.contains(&found.name_any())).map(its));
    for name in names {
        if !live.contains_key(&(kind.clone(), name.clone()))
            && let Some(found) = api.get_opt(&name).await?
        {
            live.extend([keep(&found)]);
            forms.extend([its(&found)]);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_and_comes_back_between_two_looks_was_away() {
        let forms = |all: &[(&str, &str)]| Looked {
            forms: all
                .iter()
                .map(|(name, form)| (("Kind".to_owned(), (*name).to_owned()), (*form).to_owned()))
                .collect(),
            ..Looked::default()
        };
        let before = forms(&[("a", "1 1"), ("b", "2 1")]);
        assert!(!before.had_a_gap_since(&before.clone()));
        assert!(forms(&[("a", "1 1"), ("b", "3 1")]).had_a_gap_since(&before), "made anew");
        assert!(forms(&[("a", "1 1"), ("b", "2 3")]).had_a_gap_since(&before), "written twice");
        assert!(!before.had_a_gap_since(&Looked::default()), "the first look of a leader");
        let kind = "Kind".to_owned();
        let gone = Missing { rule: "Consumers", kind, name: "b".into(), differs: None };
        let broken = Looked { missing: vec![gone], ..forms(&[("a", "1 1")]) };
        assert!(!before.had_a_gap_since(&broken), "that is told as missing");
        let other = Looked { forms: forms(&[("a", "1 2")]).forms, ..broken.clone() };
        assert!(other.had_a_gap_since(&broken), "whatever else is missing");
    }

    fn installed() -> Live {
        let objects = guards(&Installation::default()).into_iter().flat_map(|guard| guard.objects());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        objects.map(|o| ((text(&o["kind"]), text(&o["metadata"]["name"])), o["spec"].clone())).collect()
    }

    fn told(live: &Live) -> Vec<(&'static str, String, Option<Vec<String>>)> {
        let all = missing(&Installation::default(), live, true);
        all.into_iter().map(|m| (m.rule, m.name, m.differs.map(|f| f.into_iter().collect()))).collect()
    }

    #[test]
    fn what_is_there_as_installed_is_not_missing() {
        assert_eq!(told(&installed()), []);
        let none = missing(&Installation::default(), &installed(), false);
        let rules: Vec<_> = none.iter().map(|m| m.rule).collect();
        assert_eq!(rules, REVIEWED);
        // Of another installation the guards name another account.
        let elsewhere = Installation { namespace: "elsewhere".into(), service_account: "keeper".into() };
        assert!(missing(&elsewhere, &installed(), true).iter().any(|m| m.rule == "Operator"));
    }

    #[test]
    fn each_way_to_weaken_a_rule_is_seen() {
        let (policy, binding) = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding");
        let (name, enforce) = ("consumers.scopedsecrets.io", "consumers-enforce.scopedsecrets.io");
        type Edit = fn(&mut Value);
        let table: [(&str, &str, Edit, &str); 7] = [
            (binding, enforce, |spec| spec["validationActions"] = serde_json::json!(["Audit"]), "validationActions"),
            (binding, enforce, |spec| spec["policyName"] = "another".into(), "policyName"),
            (
                binding,
                enforce,
                |spec| spec["paramRef"]["selector"] = serde_json::json!({"matchLabels": {"a": "b"}}),
                "paramRef",
            ),
            (
                binding,
                enforce,
                |spec| spec["matchResources"] = serde_json::json!({"namespaceSelector": {"matchLabels": {"a": "b"}}}),
                "matchResources",
            ),
            (policy, name, |spec| spec["failurePolicy"] = "Ignore".into(), "failurePolicy"),
            (
                policy,
                name,
                |spec| spec["matchConditions"] = serde_json::json!([{"name": "never", "expression": "false"}]),
                "matchConditions",
            ),
            (policy, name, |spec| spec["validations"][0]["expression"] = "true".into(), "validations"),
        ];
        for (kind, name, edit, field) in table {
            let mut live = installed();
            edit(live.get_mut(&(kind.to_owned(), name.to_owned())).unwrap());
            assert_eq!(told(&live), [("Consumers", name.to_owned(), Some(vec![field.to_owned()]))]);
            live.remove(&(kind.to_owned(), name.to_owned()));
            assert_eq!(told(&live), [("Consumers", name.to_owned(), None)]);
        }
    }
}
