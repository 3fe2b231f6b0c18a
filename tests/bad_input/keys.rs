//! Keys that are not one exact name of this account and region. The CRD refuses them at apply; the core does, too, for
//! what may get past it.

use crate::bed::{Case, How, whole};
use crate::support::stub_manager::arn;
use jiff::Timestamp;
use scoped_secrets::api::{Reason, SegmentationPolicySpec};
use scoped_secrets::segmentation::authorize::authorize;
use scoped_secrets::segmentation::key::Realm;
use scoped_secrets::segmentation::policy::Policy;
use scoped_secrets::segmentation::verdict::Verdict;
use scoped_secrets::segmentation::world::{Claim, ObjectName, PolicyState, StoreState, VersionAsked, World};
use serde_json::json;

const ONE_NAME: &str = "key is one exact name";
const DOTS: &str = "key has a part '.' or '..'";
const WHOLE_ARN: &str = "an ARN must be complete";

/// A key under keys/prod that is none, and what the CRD says of it.
const BAD: &[(&str, &str)] = &[
    ("keys/prod/../../other/prod/db", DOTS),
    ("keys/prod/./db", DOTS),
    ("../keys/prod/db", DOTS),
    ("keys/prod/..", DOTS),
    ("keys//prod/db", ONE_NAME),
    ("//keys/prod/db", ONE_NAME),
    ("keys/prod/db/", ONE_NAME),
    ("/", ONE_NAME),
    ("keys/prod/*", ONE_NAME),
    ("keys/**", ONE_NAME),
    ("keys/prod/d?", ONE_NAME),
    ("keys/prod/${namespace}", ONE_NAME),
    ("keys%2Fprod%2Fdb", ONE_NAME),
    ("keys/prod/%2e%2e/db", ONE_NAME),
    ("kеys/prod/db", ONE_NAME),
    ("keys/prod/db\u{200b}", ONE_NAME),
    ("keys／prod／db", ONE_NAME),
    ("keys/prod/ｄb", ONE_NAME),
    ("keys/prod/db ", ONE_NAME),
    (" keys/prod/db", ONE_NAME),
    ("keys/prod/d b", ONE_NAME),
    ("keys/prod/db\n", ONE_NAME),
    ("keys/prod/db\u{0}", ONE_NAME),
    ("keys\\prod\\db", ONE_NAME),
    ("arn:aws:secretsmanager:eu-west-1:123456789012:secret:keys/prod/db", WHOLE_ARN),
    ("arn:aws:secretsmanager:eu-west-1:123456789012:secret:keys/prod/db-AbC12", WHOLE_ARN),
    ("arn:aws:secretsmanager:eu-west-1:123456789012:secret:keys/prod/db-AbC12*", WHOLE_ARN),
    ("arn:aws:secretsmanager:eu-west-1::secret:keys/prod/db-AbC12x", WHOLE_ARN),
    ("arn:aws:secretsmanager:eu-west-1:123456789012:secret:keys//db-AbC12x", WHOLE_ARN),
    ("arn:aws:ssm:eu-west-1:123456789012:parameter/keys/prod/db-AbC12x", WHOLE_ARN),
    ("ARN:aws:secretsmanager:eu-west-1:123456789012:secret:keys/prod/db-AbC12x", ONE_NAME),
];

#[test]
fn the_api_server_refuses_what_is_not_one_exact_name() {
    let case = Case::new("keys");
    for (key, says) in BAD.iter().filter(|(key, _)| !key.contains('\0')) {
        let spec = format!("data: [{{secretKey: value, remoteRef: {{key: {}}}}}]", json!(key));
        let refusal = case.bed.refuses(&case.yaml("refused", &spec), &[]);
        assert!(refusal.contains(says) || refusal.contains(ONE_NAME), "{key:?}: {refusal}");
        let spec = format!("dataFrom: [{{remoteRef: {{key: {}}}}}]", json!(key));
        case.bed.refuses(&case.yaml("refused", &spec), &["key"]);
    }
    let long = format!("keys/prod/{}", "x".repeat(503));
    case.bed.refuses(&case.yaml("refused", &format!("dataFrom: [{{remoteRef: {{key: {long}}}}}]")), &[ONE_NAME]);
    assert!(case.stub.calls().is_empty(), "{:?}", case.stub.calls());
}

#[test]
fn arns_of_this_and_of_another_account_or_region() {
    let case = Case::new("arns");
    let key = case.key("db");
    case.text("db", "canary-arns-kX9mQ2vL8nR5wT3z1pQ7");
    let of = |arn: &str| format!("data: [{{secretKey: value, remoteRef: {{key: \"{arn}\"}}}}]");
    let (account, region) = ("123456789012", "eu-west-1");
    let parts = ["WrongRegion", "its region is us-east-1", "the store reaches eu-west-1", "use a store of that region"];
    case.bed.refuses(&case.yaml("region", &of(&arn(account, "us-east-1", &key))), &parts);
    case.bed.refuses(
        &case.yaml("account", &of(&arn("999999999999", region, &key))),
        &["KeyNotAllowed", ":999999999999:secret:arns/prod/db-AbC12x\"", "another account than the store's"],
    );
    case.bed.refuses(&case.yaml("other", &of(&arn(account, region, "other/prod/db"))), &["KeyNotAllowed"]);
    // In its own account a key is asked for by its name, and is one and the same key.
    case.claim("own", &of(&arn(account, region, &key)));
    case.is_ready("own");
    case.holds("own", "value", "canary-arns-kX9mQ2vL8nR5wT3z1pQ7");
    assert_eq!(case.stub.asked(&key), 1, "{:?}", case.stub.calls());
    case.claim("by-name", &whole("db"));
    case.is_ready("by-name");
    // A rival in another namespace gets it by neither.
    let rival = case.beside("arns-rival");
    rival.bed.refuses(&rival.yaml("rival", &of(&arn(account, region, &key))), &["KeyNotAllowed"]);
    // The edit of a claim that stands is refused as well, and changes nothing.
    let before = case.secret("own").unwrap();
    case.bed.refuses(&case.yaml("own", &of(&arn(account, region, "other/prod/db"))), &["KeyNotAllowed"]);
    case.is_ready("own");
    assert_eq!(case.secret("own").unwrap(), before);
    case.claim("gone", &whole("gone"));
    case.told("gone", How::Waiting, "RemoteMissing", &["KEY/gone"]);
}

/// What a claim that got past the CRD's rules hears from the authoriser.
#[test]
fn the_core_refuses_what_got_past_the_crd() {
    let spec: SegmentationPolicySpec = serde_json::from_value(json!({
        "segment": {"labels": ["tenant"]},
        "allow": [{"storeRef": {"name": "aws"}, "keys": ["**"]}, {"storeRef": {"name": "file"}, "keys": ["**"]}],
    }))
    .unwrap();
    let mut world = World::default();
    world.policies_synced = true;
    let policy = Policy::compile("everything", &spec).unwrap();
    world.policies.insert("everything".into(), PolicyState::Known(policy.into()));
    world.namespaces.insert("keys".into(), [("tenant".to_owned(), "keys".to_owned())].into());
    let aws = Realm::Aws { account: "123456789012".into(), region: "eu-west-1".into() };
    world.put_store("aws", Some(StoreState::Known(aws)));
    world.put_store("file", Some(StoreState::Known(Realm::File { path: "/etc/scoped-secrets".into() })));
    for store in ["aws", "file"] {
        for (key, _) in BAD {
            let claim = Claim {
                ends: None,
                rotates: None,
                object: ObjectName::new("keys", "db"),
                uid: "uid".into(),
                created: Timestamp::UNIX_EPOCH,
                store: store.into(),
                target: "db".into(),
                target_type: None,
                has_consumers: true,
                retain: false,
                asks: [((*key).into(), VersionAsked::Current)].into(),
            };
            match authorize(&claim, &world, Timestamp::UNIX_EPOCH) {
                Verdict::Refused(refusal) if refusal.reason == Reason::InvalidKey => {
                    assert!(refusal.message.contains("cannot be claimed"), "{}", refusal.message);
                }
                verdict => panic!("{store} {key:?}: {verdict:?}"),
            }
        }
    }
}
