//! As whom the secrets manager is asked: the operator's own identity, keys that rotate, a role per namespace; and whose
//! secrets the answers are.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use support::bed::{Case, How};
use support::emulator::{ACCOUNT, Call, Emulator, REGION};
use support::stub_manager::{Says, arn};
use support::tenants::{SOON, condition};
use support::wait::eventually;

/// As the operator is started with.
const OWN_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const ELSEWHERE: &str = "222222222222";

/// The emulator's store of a case, with this in its aws block; its account is to be found out.
fn store(case: &Case, auth: &str) -> String {
    case.store(&case.bed.aws.endpoint).replace("accountId: \"123456789012\", ", "").replace("auth: {}", auth)
}

/// Waits until the store tells whose secrets it reaches.
fn identified(case: &Case, account: &str) {
    eventually(&format!("store {} is in account {account}", case.name), SOON, || {
        let store = case.bed.cluster.get_json("scopedsecretstore", None, case.name).ok_or("gone")?;
        let identity = &store["status"]["identity"];
        let ready = condition(&store, "Ready").is_some_and(|ready| ready["status"] == "True");
        if ready && identity["accountId"] == account && identity["region"] == REGION {
            Ok(())
        } else {
            Err(store["status"].to_string())
        }
    });
}

/// The calls for keys of this namespace's own.
fn calls_for(aws: &Emulator, case: &Case) -> Vec<Call> {
    let own = |call: &Call| call.keys.iter().any(|key| key.starts_with(&case.key("")));
    aws.calls().into_iter().filter(own).collect()
}

fn whole(case: &Case, key: &str) -> String {
    format!("data: [{{secretKey: value, remoteRef: {{key: \"{}\"}}}}]", key.replace("KEY/", &case.key("")))
}

#[test]
fn the_operators_own_identity() {
    let case = Case::new("own-identity");
    case.bed.apply(&store(&case, "auth: {}"));
    identified(&case, ACCOUNT);
    case.bed.aws.put(&case.key("db"), "canary-own-identity-kX9mQ2vL8nR5");
    case.claim("db", &whole(&case, "KEY/db"));
    case.is_ready("db");
    for call in calls_for(&case.bed.aws, &case) {
        assert_eq!((call.access_key_id.as_str(), call.region.as_str()), (OWN_KEY, REGION));
    }
    // A key of this account by its ARN is the same key, and asked by its name.
    let by_arn = arn(ACCOUNT, REGION, &case.key("db"));
    case.claim("by-arn", &whole(&case, &by_arn));
    case.is_ready("by-arn");
    let asked: BTreeSet<String> = calls_for(&case.bed.aws, &case).into_iter().flat_map(|call| call.keys).collect();
    assert_eq!(asked, [case.key("db")].into());
    case.all_is_well();
}

#[test]
fn keys_in_a_secret_rotate() {
    let case = Case::new("rotated-keys");
    let credentials = |[id, key, token]: [&str; 3]| {
        let token = if token.is_empty() { String::new() } else { format!(", sessionToken: \"{token}\"") };
        case.bed.apply(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: keys-of-{}, namespace: scoped-secrets}}\nstringData: {{accessKeyId: \"{id}\", secretAccessKey: \"{key}\"{token}}}\n",
            case.name
        ));
    };
    let last_signed_by = |key: &str| {
        eventually(&format!("{key} signs"), SOON, || {
            let last = calls_for(&case.bed.aws, &case).pop().ok_or("no call")?;
            if last.access_key_id == key { Ok(()) } else { Err(last.access_key_id) }
        });
    };
    case.bed.aws.put(&case.key("db"), "canary-rotated-keys-kX9mQ2vL8nR5");
    credentials(["AKIAFIRST", "canary-first-access-key-kX9mQ2vL", ""]);
    case.bed.apply(&store(&case, &format!("auth: {{secretRef: {{name: keys-of-{}}}}}", case.name)));
    identified(&case, ACCOUNT);
    case.claim("db", &format!("{}\nrefreshInterval: 1s", whole(&case, "KEY/db")));
    case.is_ready("db");
    last_signed_by("AKIAFIRST");
    // New keys of the same account: nothing else changes.
    let before = case.secret("db");
    credentials(["AKIASECOND", "canary-second-access-key-kX9mQ2v", ""]);
    last_signed_by("AKIASECOND");
    let by = |key: &str| calls_for(&case.bed.aws, &case).iter().filter(|call| call.access_key_id == key).count();
    let (old, new) = (by("AKIAFIRST"), by("AKIASECOND"));
    eventually("the new keys sign on", SOON, || if by("AKIASECOND") > new + 1 { Ok(()) } else { Err("not yet") });
    assert_eq!(by("AKIAFIRST"), old, "the old ones never again");
    assert_eq!(case.secret("db"), before);
    // Keys of another account: other keys, authorised anew; the same name there is another secret.
    case.bed.aws.put_in(ELSEWHERE, &case.key("db"), "canary-rotated-keys-elsewhere-kX");
    let [id, key, token] = case.bed.aws.keys_in(ELSEWHERE);
    credentials([&id, &key, &token]);
    identified(&case, ELSEWHERE);
    case.holds("db", "value", "canary-rotated-keys-elsewhere-kX");
    case.becomes("db", "Synced", "True", "Synced");
    case.is_ready("db");
    support::canary::scan(&case.bed.cluster, case.operator().unwrap(), &[&key, &token]);
    case.all_is_well();
}

#[test]
fn a_role_per_namespace() {
    let one = Case::new("role-one");
    let two = one.beside("role-two");
    let aws = &one.bed.aws;
    // Both claim through the first one's store.
    one.bed.apply(&store(
        &one,
        &format!("auth: {{assumeRole: {{roleArn: \"arn:aws:iam::{ELSEWHERE}:role/scoped-${{namespace}}\"}}}}"),
    ));
    identified(&one, ELSEWHERE);
    two.bed.apply(&two.policy("").replace("storeRef: {name: role-two}", "storeRef: {name: role-one}"));
    two.settled();
    let names = ["a", "b", "c"];
    let mut claims = Vec::new();
    for case in [&one, &two] {
        for name in names {
            aws.put_in(ELSEWHERE, &case.key(name), &format!("canary-{}-{name}-kX9mQ2vL8nR5wT3z", case.name));
            // All come due at the same moments.
            let spec = format!("{}\nrefreshInterval: 1s", whole(case, &format!("KEY/{name}")));
            claims.push(case.yaml(name, &spec).replace("storeRef: {name: role-two}", "storeRef: {name: role-one}"));
        }
    }
    one.bed.apply(&claims.join("---\n"));
    for (case, name) in [&one, &two].into_iter().flat_map(|case| names.map(|name| (case, name))) {
        case.is_ready(name);
        case.holds(name, "value", &format!("canary-{}-{name}-kX9mQ2vL8nR5wT3z", case.name));
    }
    let refreshed = |case: &Case| {
        eventually("whole batches are refreshed", SOON, || {
            let whole = calls_for(aws, case).iter().filter(|call| call.keys.len() == names.len()).count();
            if whole >= 3 { Ok(()) } else { Err(whole) }
        });
    };
    refreshed(&one);
    refreshed(&two);

    let mut signers = BTreeSet::new();
    for case in [&one, &two] {
        for call in calls_for(aws, case) {
            assert!(call.keys.iter().all(|key| key.starts_with(&case.key(""))), "a batch of two identities: {call:?}");
            signers.insert((case.name, call.access_key_id));
        }
    }
    let keys: BTreeSet<_> = signers.iter().map(|(_, key)| key).collect();
    assert_eq!((signers.len(), keys.len()), (2, 2), "one identity a namespace: {signers:?}");
    assert!(!keys.iter().any(|key| *key == OWN_KEY), "{signers:?}");

    let assumed: Vec<Call> = aws.calls().into_iter().filter(|call| call.role.is_some()).collect();
    assert_eq!(assumed.len(), 2, "once a namespace: {assumed:?}");
    for case in [&one, &two] {
        let arn = format!("arn:aws:iam::{ELSEWHERE}:role/scoped-{}", case.name);
        let call = assumed.iter().find(|call| call.role.as_ref().unwrap().arn == arn).expect("its own role");
        let role = call.role.as_ref().unwrap();
        assert_eq!((call.access_key_id.as_str(), role.session.as_str()), (OWN_KEY, case.name));
        let tags = [("namespace", case.name.to_owned()), ("segment", format!("{}/prod", case.name))];
        let tags: BTreeMap<String, String> = tags.map(|(key, value)| (key.to_owned(), value)).into();
        assert_eq!(role.tags, tags);
    }

    // A key of the operator's own account by ARN: asked by the ARN, and the namesake in the role's account is not it.
    let key = format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:role-one/prod/a-AbC12x");
    let both = format!("keys: [\"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:${{label:tenant}}/prod/**\", ");
    one.bed.apply(&one.policy("").replace("keys: [", &both));
    one.settled();
    one.claim("foreign", &whole(&one, &key));
    one.told("foreign", How::Waiting, "RemoteMissing", &["create it there, or correct the key"]);
    one.no_secret("foreign");
    assert!(aws.calls().iter().any(|call| call.keys.contains(&key)), "by its full ARN");
    one.all_is_well();
}

#[test]
fn a_key_of_another_account() {
    let case = Case::new("cross-account");
    let other = case.beside("cross-account-2");
    let name = "shared/cross-account/db";
    let key = arn(ELSEWHERE, REGION, name);
    let value = "canary-cross-account-kX9mQ2vL8nR5";
    case.stub.put(&key, Says::Another { name: name.into(), arn: key.clone(), value: value.into() });
    case.stub.put(name, Says::Text("canary-cross-account-namesake-kX".into()));
    // A pattern speaks of the store's own account.
    let own = case.policy("").replace("keys: [", "keys: [\"shared/${label:tenant}/**\", ");
    case.bed.apply(&own);
    case.settled();
    eventually("the ARN is refused", SOON, || match case.bed.cluster.apply(&case.yaml("db", &whole(&case, &key))) {
        Err(refusal) if refusal.contains("KeyNotAllowed") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let prefix = format!("keys: [\"arn:aws:secretsmanager:{REGION}:{ELSEWHERE}:secret:shared/${{label:tenant}}/**\", ");
    case.bed.apply(&own.replace("keys: [", &prefix));
    case.settled();
    eventually("the ARN is taken", SOON, || case.bed.cluster.apply(&case.yaml("db", &whole(&case, &key))));
    let object = case.is_ready("db");
    case.holds("db", "value", value);
    assert_eq!(object["status"]["remoteVersions"][0]["key"], key.as_str());
    assert_eq!((case.stub.asked(&key), case.stub.asked(name)), (1, 0), "by its full ARN: {:?}", case.stub.calls());
    // Its namesake in the store's own account is another key: asked by name.
    case.claim("namesake", &whole(&case, name));
    case.is_ready("namesake");
    case.holds("namesake", "value", "canary-cross-account-namesake-kX");
    // Nobody else's.
    let thief = other
        .yaml("db", &whole(&other, &key))
        .replace("storeRef: {name: cross-account-2}", "storeRef: {name: cross-account}");
    other.bed.refuses(&thief, &["KeyNotAllowed"]);
    case.all_is_well();
}
