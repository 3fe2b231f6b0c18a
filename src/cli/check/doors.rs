//! What stands at the API server's door: the webhook's entries, and the rules that it keeps on its own.

use super::installed::{Guards, Installed, SERVICE};
use crate::admission::bundle::Published;
use crate::admission::doors::of_path;
use crate::admission::guard::WHILE_UPGRADING;
use crate::admission::identities::Installation;
use crate::admission::rules::guards;
use crate::admission::webhook_configuration::{CONFIGURATION, Endpoint, TIMEOUT_SECONDS, Wanted, is_ours};
use crate::api::Reason;
use crate::cli::cluster::Seen;
use crate::cli::report::{Finding, Outcome, Rule, Severity, Subject};
use crate::controller::report::guards::{Live, missing};
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingWebhook, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer, X509Certificate};

/// How what is missing of an installation comes back.
const AGAIN: &str =
    "install again as it was done: helm upgrade with the same values, or kubectl apply --server-side -k deploy/";

/// The webhook configuration: filled in, unweakened, and its webhook can be reached and trusted.
pub fn judge_webhook(found: &Installed, now: Timestamp, outcome: &mut Outcome) {
    let subject = || Subject::cluster("ValidatingWebhookConfiguration", CONFIGURATION);
    let missing = |outcome: &mut Outcome, message: &str| {
        let finding = Finding::live(Severity::Error, Rule::Installation, Reason::GuardMissing, subject(), message);
        outcome.push(finding.mend(format!("{AGAIN}; a running operator fills the entries in")));
    };
    let configuration = match &found.configuration {
        Seen::There(configuration) => configuration,
        Seen::Absent => {
            return missing(outcome, "there is none: what the webhook would refuse gets in, and is found by reconcile");
        }
        Seen::Barred => return,
    };
    let ours = ours(configuration);
    if ours.is_empty() {
        return missing(outcome, "it has no entries: what the webhook would refuse gets in, and is found by reconcile");
    }
    let well = format!("the webhook's {} entries are as the operator writes them", ours.len());
    outcome.part(
        || well,
        |outcome| {
            for entry in configuration.webhooks.iter().flatten().filter(|entry| !is_ours(entry)) {
                let what = format!(
                    "entry {} is not the operator's: whatever it is for is sent to its address, new Secrets as well",
                    entry.name
                );
                let finding = Finding::live(Severity::Error, Rule::Installation, Reason::GuardMissing, subject(), what);
                outcome
                    .push(finding.mend("take the entry out, or give it a ValidatingWebhookConfiguration of its own"));
            }
            for what in weakened(found, &ours, now) {
                let finding = Finding::live(Severity::Error, Rule::Installation, Reason::GuardMissing, subject(), what);
                outcome.push(finding.mend("start the operator: its leader puts its entries right"));
            }
            let by_service = ours.iter().any(|entry| entry.client_config.service.is_some());
            if by_service && found.ready_endpoints == Seen::There(0) {
                let service = Subject::namespaced("Service", &found.installation.namespace, SERVICE);
                let message = "no ready pod is behind it: requests that the webhook must review are refused";
                outcome.find(Severity::Error, Rule::Installation, Reason::OperatorDown, service, message);
            }
        },
    );
}

fn ours(configuration: &ValidatingWebhookConfiguration) -> Vec<&ValidatingWebhook> {
    configuration.webhooks.iter().flatten().filter(|entry| is_ours(entry)).collect()
}

fn weakened(found: &Installed, live: &[&ValidatingWebhook], now: Timestamp) -> Vec<String> {
    let mut said = Vec::new();
    let place = &found.installation.namespace;
    for entry in live {
        if let Err(why) = is_sane(&entry.client_config, place, now) {
            said.push(format!("entry {}: {why}", entry.name));
        }
    }
    let endpoint =
        Endpoint { namespace: place.clone(), service: SERVICE.to_owned(), url: None, timeout_seconds: TIMEOUT_SECONDS };
    let wanted =
        Wanted { endpoint, service_account: found.installation.service_account.clone(), served: found.served() };
    let governed = found.observed.world.governed();
    let published = Published { ca_bundle: String::new(), door: String::new() };
    for entry in wanted.webhooks(&published, &governed.clone().unwrap_or_default()) {
        let Ok(entry) = serde_json::from_value::<ValidatingWebhook>(entry) else { continue };
        let Some(live) = live.iter().find(|l| l.name == entry.name) else {
            said.push(format!("entry {} is missing", entry.name));
            continue;
        };
        // Where it is and how long it is waited for each installation says for itself.
        let live = ValidatingWebhook {
            client_config: entry.client_config.clone(),
            timeout_seconds: entry.timeout_seconds,
            ..(*live).clone()
        };
        let differing = differences(&entry, &live);
        if !differing.is_empty() {
            said.push(format!("entry {}: {} differ from what the operator writes", entry.name, differing.join(", ")));
        }
    }
    said
}

/// Whether the API server can reach and trust the webhook by this.
fn is_sane(config: &WebhookClientConfig, place: &str, now: Timestamp) -> Result<(), String> {
    let bundle = config.ca_bundle.as_ref().map(|bytes| bytes.0.as_slice()).unwrap_or_default();
    let authorities: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(bundle).filter_map(Result::ok).collect();
    if authorities.is_empty() {
        return Err("its caBundle has no certificate".to_owned());
    }
    let valid = |authority: &CertificateDer<'_>| {
        X509Certificate::from_der(authority).is_ok_and(|(_, parsed)| {
            let validity = &parsed.validity;
            (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now.as_second())
        })
    };
    if !authorities.iter().any(valid) {
        return Err("no certificate in its caBundle is valid now".to_owned());
    }
    let path = match (&config.service, &config.url) {
        (Some(service), None) => {
            if service.namespace != place || service.name != SERVICE {
                return Err(format!("it points at Service {}/{}", service.namespace, service.name));
            }
            service.path.clone().unwrap_or_default()
        }
        (None, Some(url)) => {
            let rest = url.strip_prefix("https://").ok_or("its url is not https")?;
            rest.find('/').map(|at| rest[at..].to_owned()).unwrap_or_default()
        }
        _ => return Err("it has neither a service nor a url".to_owned()),
    };
    // The door itself is known to the replicas alone; `--doors` asks whether they open.
    if of_path(&path).is_some() { Ok(()) } else { Err("its path is not the webhook's".to_owned()) }
}

/// Every rule that the API server keeps: there, bound, and as this version has it; as the operator itself looks.
pub fn judge_guards(found: &Guards, installation: &Installation, outcome: &mut Outcome) {
    let mut live = Live::new();
    for (name, policy) in found.policies.get().into_iter().flatten() {
        live.insert((POLICY.to_owned(), name.clone()), json!(policy.spec));
    }
    for (name, binding) in found.bindings.get().into_iter().flatten() {
        live.insert((BINDING.to_owned(), name.clone()), json!(binding.spec));
    }
    let seen = |kind: &str| match kind {
        POLICY => found.policies != Seen::Barred,
        _ => found.bindings != Seen::Barred,
    };
    let judge = |outcome: &mut Outcome| {
        for missing in missing(installation, &live, true).into_iter().filter(|missing| seen(&missing.kind)) {
            let (what, mend) = match &missing.differs {
                None => ("it is not there".to_owned(), AGAIN.to_owned()),
                Some(fields) => {
                    let fields = fields.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                    let what = format!("its {fields} differ from version {}'s", env!("CARGO_PKG_VERSION"));
                    (what, format!("{WHILE_UPGRADING}; else delete it, then {AGAIN}"))
                }
            };
            let message = format!("{what}, so that rule {} is not kept as it should be", missing.rule);
            let subject = Subject::cluster(&missing.kind, &missing.name);
            outcome.push(
                Finding::live(Severity::Error, Rule::Installation, Reason::GuardMissing, subject, message).mend(mend),
            );
        }
    };
    if seen(POLICY) && seen(BINDING) {
        let rules = guards(installation).len();
        outcome.part(|| format!("{rules} admission rules are there, bound and unweakened"), judge);
    } else {
        judge(outcome);
    }
}

const POLICY: &str = "ValidatingAdmissionPolicy";
const BINDING: &str = "ValidatingAdmissionPolicyBinding";

/// The fields that differ.
fn differences<T: Serialize>(wanted: &T, live: &T) -> Vec<String> {
    let fields = |value: &T| match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (wanted, live) = (fields(wanted), fields(live));
    let mut names: Vec<&String> = wanted.keys().chain(live.keys()).collect();
    names.sort();
    names.dedup();
    names.into_iter().filter(|name| wanted.get(*name) != live.get(*name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::super::installed::tests::healthy;
    use super::*;
    use crate::cli::observed::tests::now;
    use k8s_openapi::ByteString;
    use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
    use std::collections::BTreeMap;

    fn said(bend: impl FnOnce(&mut Installed)) -> Vec<(Reason, String)> {
        let mut found = healthy(&[]);
        bend(&mut found);
        let mut outcome = Outcome::default();
        judge_webhook(&found, now(), &mut outcome);
        judge_guards(&found.guards, &found.installation, &mut outcome);
        outcome.findings.into_iter().map(|f| (f.reason, f.message)).collect()
    }

    fn entries(found: &mut Installed) -> &mut Vec<ValidatingWebhook> {
        let Seen::There(configuration) = &mut found.configuration else { panic!("it is there") };
        configuration.webhooks.as_mut().unwrap()
    }

    #[test]
    fn the_webhooks_entries() {
        assert_eq!(said(|_| {}), []);
        for (bend, reason, words) in [
            ((|f| f.configuration = Seen::Absent) as fn(&mut Installed), Reason::GuardMissing, "there is none"),
            (|f| entries(f).clear(), Reason::GuardMissing, "no entries"),
            (|f| _ = entries(f).remove(0), Reason::GuardMissing, "is missing"),
            (|f| entries(f)[0].failure_policy = Some("Ignore".into()), Reason::GuardMissing, "failurePolicy"),
            (|f| entries(f)[0].match_conditions = None, Reason::GuardMissing, "matchConditions"),
            (|f| entries(f)[0].client_config.ca_bundle = None, Reason::GuardMissing, "no certificate"),
            (
                |f| entries(f)[0].client_config.ca_bundle = Some(ByteString(b"junk".to_vec())),
                Reason::GuardMissing,
                "no certificate",
            ),
            (
                |f| entries(f)[0].client_config.service.as_mut().unwrap().namespace = "other".into(),
                Reason::GuardMissing,
                "Service other/",
            ),
            (
                |f| entries(f)[0].client_config.service.as_mut().unwrap().path = Some("/guess".into()),
                Reason::GuardMissing,
                "path",
            ),
            (
                |f| {
                    let strange = ValidatingWebhook { name: "evil.example.com".into(), ..entries(f)[0].clone() };
                    entries(f).push(strange);
                },
                Reason::GuardMissing,
                "evil.example.com is not the operator's",
            ),
            (|f| f.ready_endpoints = Seen::There(0), Reason::OperatorDown, "no ready pod"),
        ] {
            let found = said(bend);
            assert_eq!(found.len(), 1, "{words}: {found:?}");
            assert!(found[0].0 == reason && found[0].1.contains(words), "{words}: {found:?}");
        }
        assert_eq!(said(|f| f.configuration = Seen::Barred), []);
    }

    #[test]
    fn a_certificate_that_has_ended_is_seen() {
        let found = healthy(&[]);
        let later = "2028-01-01T00:00:00Z".parse().unwrap();
        let mut outcome = Outcome::default();
        judge_webhook(&found, later, &mut outcome);
        assert!(outcome.findings[0].message.contains("is valid now"), "{:?}", outcome.findings);
    }

    #[test]
    fn the_rules_that_the_api_server_keeps() {
        let policies = |found: &mut Installed, bend: fn(&mut BTreeMap<String, ValidatingAdmissionPolicy>)| {
            let Seen::There(all) = &mut found.guards.policies else { panic!("they are there") };
            bend(all);
        };
        let bindings = |found: &mut Installed, bend: fn(&mut BTreeMap<String, ValidatingAdmissionPolicyBinding>)| {
            let Seen::There(all) = &mut found.guards.bindings else { panic!("they are there") };
            bend(all);
        };
        let found = said(|f| policies(f, |all| _ = all.remove("consumers.scopedsecrets.io")));
        assert_eq!(found[0].0, Reason::GuardMissing);
        let found = said(|f| bindings(f, |all| _ = all.remove("managed-secrets.scopedsecrets.io")));
        assert!(found[0].0 == Reason::GuardMissing && found[0].1.contains("ManagedSecrets"), "{found:?}");
        let found = said(|f| {
            bindings(f, |all| {
                let spec = all.get_mut("consumers-enforce.scopedsecrets.io").unwrap().spec.as_mut().unwrap();
                spec.validation_actions = Some(vec!["Audit".into()]);
            });
        });
        assert!(found[0].0 == Reason::GuardMissing && found[0].1.contains("validationActions"), "{found:?}");
        let found = said(|f| {
            policies(f, |all| {
                let spec = all.get_mut("operator.scopedsecrets.io").unwrap().spec.as_mut().unwrap();
                spec.failure_policy = Some("Ignore".into());
            });
        });
        assert!(found[0].0 == Reason::GuardMissing && found[0].1.contains("failurePolicy"), "{found:?}");
        assert_eq!(said(|f| f.guards.policies = Seen::Barred), []);
    }
}
