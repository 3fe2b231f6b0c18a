use super::*;
use crate::cli::change::effects;
use crate::cli::observed::build;
use crate::cli::observed::tests::{claim, facts};
use kube::api::DynamicObject;

fn sight(rotates: bool) -> Sight {
    let mut object = claim("payments-prod", "orders", "payments/prod/db", 1, true);
    if rotates {
        object["spec"]["rotation"] = json!({"strategy": "Provider"});
    }
    let observed = build(facts(std::slice::from_ref(&object)));
    let effects = effects::of(&observed.claims[0], &object["spec"], &observed, None, now());
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    Sight { object, claim: observed.claims[0].clone(), observed, effects }
}

fn asked(change: impl FnOnce(&mut Grant)) -> Grant {
    let mut asked = Grant {
        name: "orders".into(),
        to: subject("user/ada@example.com").unwrap(),
        ttl: "30m".into(),
        reason: "INC-123".into(),
        rotate_after: false,
        needs_approval: false,
        change: ChangeArgs {
            yes: false,
            dry_run: None,
            wait: false,
            timeout: Duration::from_secs(120),
            output: super::super::change::Form::Text,
            cluster: Default::default(),
        },
    };
    change(&mut asked);
    asked
}

fn now() -> Timestamp {
    "2026-11-26T03:00:00Z".parse().unwrap()
}

#[test]
fn a_subject_is_a_person_or_a_serviceaccount_of_the_namespace() {
    for (text, expected) in [
        ("user/ada@example.com", Ok(("User", "ada@example.com"))),
        ("user/corp/ada", Ok(("User", "corp/ada"))),
        ("sa/debug", Ok(("ServiceAccount", "debug"))),
        ("ServiceAccount/debug", Ok(("ServiceAccount", "debug"))),
        ("user/system:admin", Err("a user is a person")),
        ("sa/other:debug", Err("same namespace")),
        ("sa/other/debug", Err("same namespace")),
        ("group/dev", Err("user/NAME")),
        ("ada", Err("user/NAME")),
        ("user/", Err("the name is missing")),
    ] {
        match (subject(text), expected) {
            (Ok(to), Ok(expected)) => assert_eq!((to.kind, to.name.as_str()), expected, "{text}"),
            (Err(told), Err(part)) => assert!(told.contains(part), "{text}: {told}"),
            (told, expected) => panic!("{text}: {told:?}, {expected:?}"),
        }
    }
    for text in ["", "0s", "-5m", "soon", "1w"] {
        assert!(ttl(text).is_err(), "{text}");
    }
}

#[test]
fn what_is_lent_is_shown_and_nothing_but_that_is_written() {
    let none = Terms { max_ttl: Some("8h".into()), approval: Some(false) };
    let made = plan(&asked(|_| ()), &sight(false), &none, None, now()).unwrap();
    let Write::Create { object, namespaced: true, kind: "SecretGrant" } = &made.writes[0] else {
        panic!("{:?}", made.writes)
    };
    let spec = json!({
        "scopedSecretRef": {"name": "orders"}, "subject": {"kind": "User", "name": "ada@example.com"},
        "ttl": "30m", "reason": "INC-123",
    });
    assert_eq!(object["spec"], spec);
    assert_eq!(object["metadata"], json!({"generateName": "orders-", "namespace": "payments-prod"}));
    assert_eq!(prefix(&format!("{}.of.payments", "a".repeat(49))), format!("{}-", "a".repeat(49)));
    assert!(made.happens[0].contains("for 30m, until 2026-11-26T03:30:00Z"), "{:?}", made.happens);
    assert!(made.notes.iter().any(|note| note.contains("--rotate-after")));

    let required = Terms { approval: Some(true), ..none };
    let approved = asked(|asked| asked.rotate_after = true);
    let made = plan(&approved, &sight(true), &required, Some("eve@example.com"), now()).unwrap();
    let Write::Create { object, .. } = &made.writes[0] else { panic!("{:?}", made.writes) };
    assert_eq!(
        (&object["spec"]["requestedBy"], &object["spec"]["rotateAfter"]),
        (&"eve@example.com".into(), &true.into())
    );
    assert!(made.happens[0].contains("another user approves") && made.done.contains("approve {name} -n payments-prod"));
}

#[test]
fn what_cannot_be_is_refused_before_anybody_is_asked() {
    let terms = Terms { max_ttl: Some("8h".into()), approval: None };
    let long = asked(|asked| asked.ttl = "1d".into());
    assert!(plan(&long, &sight(false), &terms, None, now()).unwrap_err().to_string().contains("8h at most"));
    let debt = asked(|asked| asked.rotate_after = true);
    assert!(plan(&debt, &sight(false), &terms, None, now()).unwrap_err().to_string().contains("spec.rotation"));
    let unknown = plan(&asked(|_| ()), &sight(false), &terms, None, now()).unwrap();
    assert!(unknown.notes.iter().any(|note| note.contains("--needs-approval")));
}

#[test]
fn how_far_a_grant_is() {
    let object = |kind: &str| {
        json!({"status": {"expirationTime": "2026-11-26T03:30:00Z",
            "conditions": [{"type": kind, "status": "True", "reason": "R", "message": "m"}]}})
    };
    assert_eq!(
        progress(Some(&object("Ready"))),
        Progress::Done("the access is given, until 2026-11-26T03:30:00Z".into())
    );
    assert!(matches!(progress(Some(&object("Reconciling"))), Progress::Open(_)));
    for bad in ["Stalled", "Expired"] {
        assert!(matches!(progress(Some(&object(bad))), Progress::Bad(_)), "{bad}");
    }
    assert!(matches!(progress(None), Progress::Bad(_)));
}
