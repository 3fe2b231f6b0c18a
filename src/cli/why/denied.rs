//! A denial's text, as kubectl printed it: which rule, which reason, and what they mean. Pure.

use super::answer::{Answer, Told};
use crate::admission::rules::grants;
use crate::admission::webhook_configuration::CONFIGURATION;
use crate::api::Reason;
use crate::cli::report::{Rule, Severity, Subject};
use crate::segmentation::authorize::segment_of;
use crate::segmentation::world::World;

/// One denial, or warning, of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Such as `Claims`.
    pub rule: String,
    /// Its reason.
    pub reason: Reason,
    /// The object, such as `ScopedSecret billing-prod/reporting`.
    pub subject: String,
    /// What it says.
    pub message: String,
}

/// What is said of a text without one.
pub const NOT_OURS: &str = "this is neither a denial of Scoped Secrets (its words are \"rule NAME, REASON: ...\") nor a Kubernetes object in YAML or JSON; a denial that says \"User ... cannot ...\" is RBAC's own";

/// How kubectl begins to tell of another object.
const BEGINS: [&str; 4] = ["Error from server", "error:", "Error:", "Warning:"];

/// Of a single object that is refused as invalid it tells in other words.
fn begins(line: &str) -> bool {
    BEGINS.iter().any(|begin| line.starts_with(begin)) || (line.starts_with("The ") && line.contains("\" is invalid: "))
}

/// Every denial in a text, wherever its lines were broken.
pub fn read(text: &str) -> Vec<Denial> {
    let mut told = vec![String::new()];
    for line in text.lines().map(str::trim) {
        if begins(line) {
            told.push(String::new());
        }
        if let Some(told) = told.last_mut() {
            told.extend(line.split_whitespace().flat_map(|word| [word, " "]));
        }
    }
    let mut found: Vec<Denial> = Vec::new();
    told.iter().for_each(|told| read_one(told, &mut found));
    found
}

/// Those of what is told of one object.
fn read_one(text: &str, found: &mut Vec<Denial>) {
    let starts: Vec<usize> =
        text.match_indices("rule ").map(|(at, _)| at).filter(|at| head(&text[*at..]).is_some()).collect();
    for (index, start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(text.len());
        let Some((rule, reason, rest)) = head(&text[*start..end]) else { continue };
        let (subject, message) = rest.split_once(": ").unwrap_or(("", rest));
        let denial =
            Denial { rule: rule.to_owned(), reason, subject: subject.to_owned(), message: message.trim().to_owned() };
        if !found.contains(&denial) {
            found.push(denial);
        }
    }
    for denial in [unanswered(text), unguarded(text)].into_iter().flatten() {
        if !found.contains(&denial) {
            found.push(denial);
        }
    }
}

/// What the API server says where our webhook does not answer it.
fn unanswered(text: &str) -> Option<Denial> {
    let (_, rest) = text.split_once("failed calling webhook \"")?;
    let (name, _) = rest.split_once('"').filter(|(name, _)| name.ends_with(".scopedsecrets.io"))?;
    Some(Denial {
        rule: Rule::Installation.as_str().to_owned(),
        reason: Reason::OperatorDown,
        subject: format!("ValidatingWebhookConfiguration {CONFIGURATION}"),
        message: format!(
            "nobody answers the API server for {name}: what the operator must see in governed namespaces waits until it does; kubectl scoped-secrets check tells what is wrong with it"
        ),
    })
}

/// What to do about a grant in a namespace that has no Secret to give access to.
const ELSEWHERE: &str = "there is no Secret to give access to: into metadata.namespace write the namespace of the ScopedSecret that is to be lent";

/// What the API server says of a SecretGrant where there is no SegmentGuard: before any rule of ours has a word.
fn unguarded(text: &str) -> Option<Denial> {
    let (before, _) = text.split_once("no params found for policy binding")?;
    let (object, policy) = before.rsplit_once("ValidatingAdmissionPolicy '")?;
    policy.strip_prefix(grants::guard().name().as_str())?.strip_prefix('\'')?;
    let name = object.rsplit('"').nth(1).unwrap_or_default();
    Some(Denial {
        rule: grants::RULE.to_owned(),
        reason: Reason::NoPolicy,
        subject: Subject::cluster("SecretGrant", name).to_string(),
        message: format!(
            "no SegmentationPolicy governs its namespace, or the operator does not guard it yet, so that {ELSEWHERE}; kubectl scoped-secrets why -f FILE with the SecretGrant in it says which labels the namespace lacks"
        ),
    })
}

/// The denial that says of a SecretGrant that its namespace has no SegmentGuard.
pub fn of_unguarded(denials: &[Denial]) -> Option<&Denial> {
    denials.iter().find(|denial| denial.rule == grants::RULE && denial.reason == Reason::NoPolicy)
}

/// What it comes to, once the namespace was looked at.
pub fn looked_at(denial: &Denial, about: &Subject, namespace: &str, world: &World) -> Denial {
    let denial = Denial { subject: about.to_string(), ..denial.clone() };
    match segment_of(namespace, world) {
        Err(refusal) if matches!(refusal.reason, Reason::NoPolicy | Reason::SegmentLabelMissing) => {
            Denial { reason: refusal.reason, message: format!("{}; so {ELSEWHERE}", refusal.message), ..denial }
        }
        Err(_) => denial,
        Ok(_) => Denial {
            reason: Reason::Pending,
            message: format!(
                "namespace {namespace:?} is governed, and the operator has not written its SegmentGuard yet: try again in a moment; kubectl scoped-secrets check says whether the operator runs"
            ),
            ..denial
        },
    }
}

/// `rule NAME, REASON: rest`.
fn head(text: &str) -> Option<(&str, Reason, &str)> {
    let (rule, rest) = text.strip_prefix("rule ")?.split_once(", ")?;
    let (reason, rest) = rest.split_once(": ")?;
    let word = !rule.is_empty() && rule.bytes().all(|b| b.is_ascii_alphanumeric());
    word.then_some((rule, Reason::from_text(reason)?, rest))
}

/// What they mean: the answer to the first, with those to the others.
pub fn answer(denials: &[Denial]) -> Answer {
    let mut answers = denials.iter().map(of_one);
    let mut answer = answers.next().unwrap_or_default();
    answer.beside(answers.collect());
    answer
}

fn of_one(denial: &Denial) -> Answer {
    told(denial, "a request that was denied", "refused", Severity::Error)
}

/// What the rules warn of in a request that is let in.
pub fn warned(denial: &Denial) -> Answer {
    told(denial, "a request that is let in with a warning", "allowed", Severity::Warning)
}

fn told(denial: &Denial, what: &str, becomes: &'static str, severity: Severity) -> Answer {
    let told = Told::new(becomes, denial.reason, &denial.message);
    let mut answer =
        Answer { about: format!("{} ({what})", denial.subject), rule: Some(denial.rule.clone()), ..Answer::default() };
    answer.blame(&subject(&denial.subject), Rule::named(&denial.rule), severity, &told);
    if let Some((_, allowed)) = denial.message.split_once("allowed here: ") {
        answer.next(format!("allowed here: {allowed}"));
    }
    answer.verdict = told;
    answer
}

fn subject(text: &str) -> Subject {
    let (kind, name) = text.split_once(' ').unwrap_or((text, ""));
    match name.split_once('/') {
        Some((namespace, name)) => Subject::namespaced(kind, namespace, name),
        None => Subject::cluster(kind, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::observed::build;
    use crate::cli::observed::tests::facts;
    use crate::cli::report::text::Colours;
    use crate::cli::why::render;

    #[test]
    fn denials_are_read_as_kubectl_prints_them() {
        let webhook = "Error from server (KeyNotAllowed): error when creating \"app.yaml\": admission webhook \"scopedsecrets.scopedsecrets.io\" denied the request:\nrule Claims, KeyNotAllowed: ScopedSecret billing-prod/reporting: policy \"tenants\" does not allow namespace\n\"billing-prod\" (tenant=billing) the key \"payments/prod/db\" in store \"main\";\nallowed here: billing/prod/**\n";
        let found = read(webhook);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].rule.as_str(), found[0].reason), ("Claims", Reason::KeyNotAllowed));
        assert_eq!(found[0].subject, "ScopedSecret billing-prod/reporting");
        let answer = answer(&found);
        assert_eq!(answer.verdict.page, "docs/reasons/KeyNotAllowed.md");
        assert!(answer.next.contains(&"allowed here: billing/prod/**".to_owned()), "{:?}", answer.next);
        assert_eq!(answer.report.findings[0].subject, Subject::namespaced("ScopedSecret", "billing-prod", "reporting"));

        let guard = "The pods \"p\" is invalid: : ValidatingAdmissionPolicy 'consumers.scopedsecrets.io' with binding 'consumers-enforce.scopedsecrets.io' denied request: rule Consumers, ForeignConsumer: Pod payments-prod/p: its pods run under ServiceAccount \"thief\", which is no consumer of Secret \"orders\"";
        assert_eq!(read(guard)[0].reason, Reason::ForeignConsumer);
        let two = format!("{guard}\nWarning: rule Claims, StoreNotFound: ScopedSecret a/b: the store is not there");
        assert_eq!(
            read(&two).iter().map(|d| d.reason).collect::<Vec<_>>(),
            [Reason::ForeignConsumer, Reason::StoreNotFound]
        );
    }

    #[test]
    fn a_denial_ends_where_another_object_begins() {
        let denial = "Error from server (Forbidden): error when creating \"a.yaml\": admission webhook \"x\" denied the request: rule Copies, ValueCopied: ConfigMap a/b: a value\nof another segment";
        let rbac = "Error from server (Forbidden): error when creating \"a.yaml\": pods is forbidden: User \"bill\" cannot create";
        for more in [rbac, "error: unable to recognize \"a.yaml\"", "Warning: spec.x is deprecated"] {
            let found = read(&format!("{rbac}\n{denial}\n{more}\n"));
            let told: Vec<&str> = found.iter().map(|denial| denial.message.as_str()).collect();
            assert_eq!(told, ["a value of another segment"], "{more}");
        }
    }

    #[test]
    fn each_denial_has_an_answer_of_its_own() {
        let guard = "The pods \"p\" is invalid: : ValidatingAdmissionPolicy 'consumers.scopedsecrets.io' with binding 'consumers-enforce.scopedsecrets.io' denied request: rule Consumers, ForeignConsumer: Pod a/p: no consumer";
        let webhook = |name: &str, reason: &str| {
            format!(
                "Error from server ({reason}): error when creating \"a.yaml\": admission webhook \"x\" denied the request: rule Claims, {reason}: ScopedSecret a/{name}: no; allowed here: a/{name}/**"
            )
        };
        let texts = [guard.to_owned(), webhook("b", "ConsumersRequired"), webhook("c", "KeyNotAllowed")];
        for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
            let whole = answer(&read(&order.map(|at| texts[at].as_str()).join("\n")));
            let alone = order.map(|at| answer(&read(&texts[at])));
            let rendered: Vec<String> = alone.iter().map(|one| render(one, Colours(false))).collect();
            assert_eq!(render(&whole, Colours(false)), rendered.join("\n"));
            let json = whole.json();
            for (at, one) in alone.iter().enumerate() {
                let told = if at == 0 { &json } else { &json["others"][at - 1] };
                let one = one.json();
                assert!(one.get("others").is_none(), "{one}");
                for field in ["about", "rule", "verdict", "next"] {
                    assert_eq!(told[field], one[field], "{field}");
                }
                assert_eq!(json["findings"][at], one["findings"][0]);
            }
            assert_eq!((whole.others.len(), whole.report.count(Severity::Error)), (2, 3));
        }
    }

    #[test]
    fn a_webhook_that_does_not_answer_is_told_from_a_denial() {
        let failed = |name: &str| {
            read(&format!(
                "Error from server (InternalError): Internal error occurred: failed calling webhook \"{name}\": failed to call webhook: Post \"https://a\": connection refused"
            ))
        };
        let found = failed("copies-a68a1ec40e.scopedsecrets.io");
        assert_eq!(found.iter().map(|denial| denial.reason).collect::<Vec<_>>(), [Reason::OperatorDown]);
        assert_eq!(answer(&found).report.findings[0].rule, Rule::Installation);
        assert_eq!(failed("another.example.com"), []);
    }

    #[test]
    fn a_grant_where_nobody_governs_is_explained() {
        let said = |policy: &str| {
            format!(
                "ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
            )
        };
        let own = said("grants.scopedsecrets.io");
        for text in [
            format!("secretgrants.scopedsecrets.io \"ada\" is forbidden: {own}"),
            format!("The secretgrants \"ada\" is invalid: : {own}"),
            format!(
                "Error from server (Forbidden): error when creating \"a.yaml\": secretgrants.scopedsecrets.io \"ada\" is forbidden: {own}"
            ),
        ] {
            let found = read(&text);
            let told: Vec<_> = found.iter().map(|denial| (denial.reason, denial.subject.as_str())).collect();
            assert_eq!(told, [(Reason::NoPolicy, "SecretGrant ada")], "{text}");
            assert!(found[0].message.contains("metadata.namespace"), "{}", found[0].message);
        }
        assert_eq!(read(&said("grants.example.com")), []);
        let observed = build(facts(&[]));
        for (namespace, reason, says) in [
            ("plain", Reason::SegmentLabelMissing, "has no \"tenant\""),
            ("payments-prod", Reason::Pending, "is governed"),
            ("nowhere", Reason::NoPolicy, "no SegmentationPolicy governs its namespace"),
        ] {
            let about = Subject::namespaced("SecretGrant", namespace, "ada");
            let denial = looked_at(of_unguarded(&read(&own)).unwrap(), &about, namespace, &observed.world);
            assert_eq!((denial.reason, &denial.subject), (reason, &about.to_string()));
            assert!(denial.message.contains(says), "{}", denial.message);
            assert_eq!(answer(&[denial]).rule.as_deref(), Some("Grants"));
        }
        let another = read("denied the request: rule Grants, GrantNotAllowed: SecretGrant a/b: no");
        assert_eq!(of_unguarded(&another), None);
    }

    #[test]
    fn every_rule_that_denies_is_known() {
        use crate::admission::rules::*;
        let rules = [
            boundary::RULE,
            claims::RULE,
            consumers::RULE,
            copies::RULE,
            managed_secrets::RULE,
            operator::RULE,
            other_operators::RULE,
            policies::RULE,
            rbac::RULE,
            replication::RULE,
        ];
        for rule in rules.iter().chain(REVIEWED) {
            let denial = format!("denied the request: rule {rule}, SecretManaged: Secret a/b: no");
            let answer = answer(&read(&denial));
            assert_eq!(answer.rule.as_deref(), Some(*rule));
            assert_eq!(answer.report.findings[0].rule.as_str(), *rule);
        }
        assert_eq!(Rule::named("NoSuchRule"), Rule::Other);
    }

    #[test]
    fn other_texts_have_none() {
        for text in [
            "",
            "rule",
            "rule : , : ",
            "rule Claims, NoSuchReason: a: b",
            "Error from server (Forbidden): secrets is forbidden: User \"a\" cannot list resource",
            "apiVersion: v1\nkind: Pod\n",
        ] {
            assert_eq!(read(text), [], "{text}");
        }
    }
}
