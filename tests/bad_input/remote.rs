//! Remote keys that are not there, not what they seem, or not what was asked for.

use crate::bed::{Case, How, whole};
use crate::support::stub_manager::{Says, arn};

#[test]
fn a_key_that_is_missing_deleted_and_restored() {
    let case = Case::new("missing-key");
    // The emulator, for its real states of deletion.
    case.bed.apply(&case.store(&case.bed.aws.endpoint));
    case.settled();
    case.claim("db", &whole("db"));
    case.told("db", How::Waiting, "RemoteMissing", &["KEY/db", "create it there, or correct the key"]);
    case.no_secret("db");
    let (key, value) = (case.key("db"), "canary-missing-key-kX9mQ2vL8nR5wT");
    case.bed.aws.put(&key, value);
    case.refresh("db");
    case.is_ready("db");
    case.bed.aws.delete(&key);
    case.refresh("db");
    case.told("db", How::LastGood, "RemoteMissing", &["scheduled for deletion", "restore it there"]);
    case.holds("db", "value", value);
    case.bed.aws.restore(&key);
    case.refresh("db");
    case.bed.aws.put(&key, "canary-missing-key-restored-kX9mQ");
    case.refresh("db");
    case.holds("db", "value", "canary-missing-key-restored-kX9mQ");
    case.bed.aws.delete_for_good(&key);
    case.refresh("db");
    case.told("db", How::LastGood, "RemoteMissing", &["create it there"]);
    case.holds("db", "value", "canary-missing-key-restored-kX9mQ");
}

#[test]
fn a_name_that_ends_in_a_hyphen_and_six_characters() {
    let case = Case::new("look-alike");
    case.bed.apply(&case.store(&case.bed.aws.endpoint));
    case.settled();
    let own = case.key("db-AbC12x");
    case.bed.aws.put(&own, "canary-look-alike-kX9mQ2vL8nR5wT3");
    case.claim("six", &whole("db-AbC12x"));
    case.is_ready("six");
    case.holds("six", "value", "canary-look-alike-kX9mQ2vL8nR5wT3");
    // Nobody gets it by the name that it would be an ARN's end of.
    case.claim("short", &whole("db"));
    let object = case.told("short", How::Waiting, "RemoteMissing", &["KEY/db"]);
    assert!(object["status"]["remoteVersions"].is_null(), "{}", object["status"]);
    case.no_secret("short");
}

#[test]
fn an_answer_with_another_identity() {
    let case = Case::new("stranger");
    case.projected("stands", "canary-stranger-stands-kX9mQ2vL8n");
    let here = |name: &str| case.key(name);
    let another =
        |name: String, arn: String| Says::Another { name, arn, value: "canary-stranger-of-another-kX9mQ2".into() };
    let (account, region) = ("123456789012", "eu-west-1");
    for (name, says) in [
        ("name", another(here("other"), arn(account, region, &here("other")))),
        ("account", another(here("account"), arn("999999999999", region, &here("account")))),
        ("region", another(here("region"), arn(account, "us-east-1", &here("region")))),
        ("torn", another(here("torn"), arn(account, region, &here("other")))),
        ("longer", another(here("longer-AbC12x"), arn(account, region, &here("longer-AbC12x")))),
        ("no-arn", another(here("no-arn"), here("no-arn"))),
    ] {
        case.says(name, says);
        case.claim(name, &whole(name));
        case.told(
            name,
            How::Waiting,
            "RemoteIdentityMismatch",
            &[&format!("KEY/{name}"), "another secret", "thrown away"],
        );
        case.no_secret(name);
    }
    case.says("stands", another(here("other"), arn(account, region, &here("other"))));
    case.refresh("stands");
    case.told("stands", How::LastGood, "RemoteIdentityMismatch", &[]);
    case.holds("stands", "value", "canary-stranger-stands-kX9mQ2vL8n");
}
