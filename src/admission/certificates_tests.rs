use super::*;
use k8s_openapi::ByteString;
use std::collections::BTreeMap;

fn start() -> jiff::Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn names() -> Vec<String> {
    vec!["hook.ns.svc".into(), "hook.ns.svc.cluster.local".into(), "127.0.0.1".into()]
}

fn fresh() -> Bundle {
    Step::Create(Fault::Absent).take(None, &names(), start()).unwrap().unwrap()
}

fn after(days: u64) -> jiff::Timestamp {
    start() + DAY * u32::try_from(days).unwrap()
}

#[test]
fn what_to_do_when() {
    let bundle = fresh();
    let staged = Step::Stage.take(Some(bundle.clone()), &names(), after(60)).unwrap().unwrap();
    let promoted = Step::Promote.take(Some(staged.clone()), &names(), after(60)).unwrap().unwrap();
    let untrusted = Step::Create(Fault::Untrusted("tls.crt"));
    let renewal = start() - BACKDATE + LIFE * 2 / 3;
    let second = Duration::from_secs(1);
    let staged_at = after(60);
    for (what, current, published, now, expected) in [
        ("nothing there", Err(Fault::Absent), true, start(), Step::Create(Fault::Absent)),
        ("unreadable", Err(Fault::Unreadable("tls.key")), true, start(), Step::Create(Fault::Unreadable("tls.key"))),
        ("new", Ok(&bundle), true, start(), Step::Wait(renewal)),
        ("just before renewal", Ok(&bundle), true, renewal - second, Step::Wait(renewal)),
        ("at renewal", Ok(&bundle), true, renewal, Step::Stage),
        ("ended", Ok(&bundle), true, after(90), untrusted),
        ("not begun", Ok(&bundle), true, start() - DAY, untrusted),
        ("staged", Ok(&staged), true, staged_at, Step::Wait(staged_at + STAGED)),
        ("staged long enough", Ok(&staged), true, staged_at + STAGED, Step::Promote),
        ("staged, not published", Ok(&staged), false, after(62), Step::Wait(after(62) + PUBLICATION_LOOK)),
        ("staged, not published, last day", Ok(&staged), false, after(89), Step::Promote),
        ("promoted", Ok(&promoted), true, staged_at, Step::Wait(staged_at + STAGED + OVERLAP)),
        ("promoted long enough", Ok(&promoted), true, staged_at + STAGED + OVERLAP, Step::Prune),
    ] {
        assert_eq!(next_step(current, &names(), published, now), expected, "{what}");
    }
    let more: Vec<_> = names().into_iter().chain(["new.example.com".into()]).collect();
    assert_eq!(next_step(Ok(&bundle), &more, true, start()), untrusted, "the webhook is reached by another name");
}

#[test]
fn every_step_keeps_what_is_served_trusted() {
    let (mut bundle, mut now) = (fresh(), start());
    let mut steps = Vec::new();
    while now < after(400) {
        match next_step(Ok(&bundle), &names(), true, now) {
            Step::Wait(until) => {
                assert!(until > now);
                now = until;
            }
            step => {
                let before = bundle.clone();
                bundle = step.take(Some(bundle), &names(), now).unwrap().unwrap();
                steps.push(step);
                // Replicas and API servers see the change at different times.
                assert!(
                    bundle.covers(&before.serving, &names(), now) || step == Step::Prune,
                    "{step:?}: old leaf, new bundle"
                );
                assert!(before.covers(&bundle.serving, &names(), now), "{step:?}: new leaf, old bundle");
                assert!(bundle.covers(&bundle.serving, &names(), now));
            }
        }
    }
    assert_eq!(&steps[..6], [Step::Stage, Step::Promote, Step::Prune, Step::Stage, Step::Promote, Step::Prune]);
    assert_eq!(bundle.authorities.len(), 1);
}

#[test]
fn written_and_read_again() {
    let staged = Step::Stage.take(Some(fresh()), &names(), after(60)).unwrap().unwrap();
    let data = staged.write();
    assert_eq!(data.keys().collect::<Vec<_>>(), ["ca.crt", "next.crt", "next.key", "tls.crt", "tls.key"]);
    let read = Bundle::read(&data).unwrap();
    assert_eq!(read.write(), data);
    assert_eq!((read.authorities.len(), read.serving.begins), (2, start() - BACKDATE));
}

#[test]
fn content_that_is_not_ours_is_a_fault_never_a_panic() {
    let good = fresh().write();
    let other = fresh().write();
    let with = |key: &str, value: &[u8]| {
        let mut data = good.clone();
        data.insert(key.into(), ByteString(value.to_vec()));
        data
    };
    let many = fresh().ca_bundle().repeat(5);
    for (what, data, expected) in [
        ("empty", BTreeMap::new(), Fault::Unreadable("ca.crt")),
        ("no certificate", with("tls.crt", b""), Fault::Unreadable("tls.crt")),
        ("no key", with("tls.key", b"-----BEGIN PRIVATE KEY-----\n"), Fault::Unreadable("tls.crt")),
        ("bytes", with("tls.crt", &[0xff, 0, 0xfe]), Fault::Unreadable("tls.crt")),
        (
            "PEM of nothing",
            with("tls.crt", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            Fault::Mismatch("tls.crt"),
        ),
        ("another's key", with("tls.key", &other["tls.key"].0), Fault::Mismatch("tls.crt")),
        ("no authority", with("ca.crt", b"none"), Fault::Unreadable("ca.crt")),
        ("too many authorities", with("ca.crt", many.as_bytes()), Fault::Unreadable("ca.crt")),
        ("half a next", with("next.crt", &other["tls.crt"].0), Fault::Unreadable("next.key")),
    ] {
        assert_eq!(Bundle::read(&data).err(), Some(expected), "{what}");
    }
    let foreign = Bundle::read(&with("ca.crt", &other["ca.crt"].0)).unwrap();
    let step = next_step(Ok(&foreign), &names(), true, start());
    assert_eq!(step, Step::Create(Fault::Untrusted("tls.crt")), "signed by another authority");
}

#[test]
fn a_name_that_cannot_be_is_an_error_not_a_loop() {
    let made = Step::Create(Fault::Absent).take(None, &["not a name".to_owned()], start());
    assert!(matches!(made, Err(IssueError::Unusable(_))));
}
