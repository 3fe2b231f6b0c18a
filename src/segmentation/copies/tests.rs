//! What is found and what is not, in whatever form; never a panic, never more than the bounded work.

use super::*;
use crate::api::Reason;
use crate::api::policy::Mode;
use crate::segmentation::authorize::Owner;
use crate::segmentation::fingerprint::Fingerprint;
use crate::segmentation::seal::{Generation, SealKeys};
use crate::segmentation::violation::{ObjectRef, Violation};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

pub(super) fn marker(seed: u8) -> Marker {
    let mut state = u64::from(seed) + 1;
    Marker::new(&std::array::from_fn(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    }))
}

fn keys() -> SealKeys {
    SealKeys::new(Generation::from_random(&[1; 36], Timestamp::UNIX_EPOCH).unwrap())
}

fn rotated(keys: SealKeys) -> SealKeys {
    keys.rotate(Generation::from_random(&[2; 36], Timestamp::UNIX_EPOCH).unwrap())
}

fn index<'v>(keys: &SealKeys, values: impl IntoIterator<Item = &'v [u8]>) -> MarkIndex {
    let mut index = MarkIndex::default();
    for value in values {
        let (_, marks) = keys.sealed_prints(&[keys.print(value)]);
        marks.each.iter().for_each(|mark| index.insert(marks.generation, *mark));
    }
    index
}

/// The fingerprints of what is found, and the steps that it took.
fn search(text: &[u8], index: &MarkIndex, keys: &SealKeys) -> (Result<BTreeSet<Fingerprint>, Exhausted>, usize) {
    let mut all = BTreeSet::new();
    let mut search = Search::new(index, keys, text.len(), 1);
    let looked = search.look(text, &mut |print| {
        all.insert(*print);
        ControlFlow::Continue(())
    });
    (looked.map(|_| all), search.steps())
}

fn is_found(value: &[u8], text: &[u8]) -> bool {
    let keys = keys();
    let found = search(text, &index(&keys, [value]), &keys).0.unwrap();
    assert!(found.iter().all(|print| *print == keys.fingerprint(value)), "only what was planted");
    !found.is_empty()
}

fn wrapped(text: &str, width: usize, line_break: &str) -> String {
    let lines: Vec<&str> = text.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
    lines.join(line_break)
}

const VALUE: &str = "kX9#mQ2$vL8@nR5!wT3z";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIB\nBQQgkX9mQ2vL8nR5wT3z\n-----END PRIVATE KEY-----";

#[test]
fn the_common_forms() {
    let auth = STANDARD.encode(format!("robot:{VALUE}"));
    let docker = format!(r#"{{"auths":{{"registry.example.com":{{"username":"robot","auth":"{auth}"}}}}}}"#);
    let once = STANDARD.encode(VALUE);
    let in_json = serde_json::json!({"key": KEY, "n": 1}).to_string();
    let indented = format!("tls:\n  key: |\n{}\n", KEY.lines().map(|line| format!("    {line}\n")).collect::<String>());
    for (what, value, text) in [
        ("whole", VALUE, VALUE.to_owned()),
        ("in a text", VALUE, format!("user=app password={VALUE} host=db")),
        ("base64", VALUE, once.clone()),
        ("base64 twice", VALUE, STANDARD.encode(&once)),
        ("base64 with a line break in it", VALUE, STANDARD.encode(format!("{VALUE}\n"))),
        ("base64 in a script", VALUE, format!("echo {once} | base64 -d")),
        ("behind other digits", VALUE, format!("xyz{}", once.trim_end_matches('='))),
        ("a docker config", VALUE, docker.clone()),
        ("a docker config, base64", VALUE, STANDARD.encode(&docker)),
        ("a connection string", VALUE, "postgres://app:kX9%23mQ2%24vL8%40nR5%21wT3z@db/orders".into()),
        (
            "a connection string in JSON",
            VALUE,
            r#"{"a":"x\ny","url":"postgres:\/\/app:kX9%23mQ2%24vL8%40nR5%21wT3z@db"}"#.into(),
        ),
        ("a key", KEY, format!("{KEY}\n")),
        ("a key in JSON", KEY, in_json.clone()),
        ("a key in JSON in JSON", KEY, serde_json::json!({"inner": in_json}).to_string()),
        ("a key in YAML", KEY, indented.clone()),
        ("a key in YAML, base64", KEY, STANDARD.encode(&indented)),
        ("a key in YAML in JSON", KEY, serde_json::json!({"last": indented}).to_string()),
        ("a key with carriage returns in JSON", KEY, serde_json::json!({"a": KEY.replace('\n', "\r\n")}).to_string()),
        ("a key with carriage returns", KEY, KEY.replace('\n', "\r\n")),
        ("a key, wrapped", KEY, wrapped(&STANDARD.encode(KEY), 76, "\n")),
        ("a key, wrapped by blanks", KEY, wrapped(&STANDARD.encode(KEY), 76, " ")),
        ("a key, wrapped by tabs", KEY, wrapped(&STANDARD.encode(KEY), 64, "\t")),
        ("a key, wrapped and indented", KEY, wrapped(&STANDARD.encode(KEY), 64, "\r\n    ")),
        ("a key, wrapped in JSON", KEY, serde_json::json!(wrapped(&STANDARD.encode(KEY), 64, "\n")).to_string()),
        (
            "escaped slashes in base64",
            "??>??>??>kX9#mQ2$vL8?>?>",
            STANDARD.encode("??>??>??>kX9#mQ2$vL8?>?>").replace('/', "\\/"),
        ),
    ] {
        assert!(is_found(value.as_bytes(), text.as_bytes()), "{what}");
        let beside = [b"# f\xf6r uns\n", text.as_bytes(), b"\n\xff"].concat();
        assert!(is_found(value.as_bytes(), &beside), "{what}, beside what is not UTF-8");
    }
}

/// A value with what quoting has to do with, as it is written by the tools that quote.
#[test]
fn quoted_by_the_rules_of_each_language() {
    let value = r#"kX9'mQ2&vL8<nR5 wT3z"B7c\D4"#;
    let json = serde_json::json!({"p": value}).to_string();
    let yaml = |text: &str| format!("a: '{}'\n", text.replace('\'', "''"));
    let xml = |text: &str| {
        let plain = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        format!("<p a=\"{}\"/>", plain.replace('"', "&quot;"))
    };
    let shell = format!("export P='{}'", value.replace('\'', r"'\''"));
    let python = format!("run --with '{}'", value.replace('\'', r#"'"'"'"#));
    let numbers: String = value.chars().map(|c| format!("&#{};", u32::from(c))).collect();
    for (what, text) in [
        ("YAML", yaml(value)),
        ("SQL", format!("ALTER ROLE app PASSWORD '{}';", value.replace('\'', "''"))),
        ("CSV", format!("app,\"{}\",1\n", value.replace('"', "\"\""))),
        ("the shell", shell.clone()),
        ("Python's shlex", python),
        ("XML", xml(value)),
        ("XML with apostrophes", xml(value).replace('\'', "&apos;")),
        ("XML by numbers", xml(value).replace('\'', "&#39;").replace("&quot;", "&#x22;")),
        ("nothing but numbers", numbers),
        ("a form", "p=kX9%27mQ2%26vL8%3CnR5+wT3z%22B7c%5CD4&q=1".to_owned()),
        ("JSON in YAML", yaml(&json)),
        ("JSON in XML", xml(&json)),
        ("JSON in CSV", format!("app,\"{}\",1\n", json.replace('"', "\"\""))),
        ("YAML in JSON", serde_json::json!({"last": yaml(value)}).to_string()),
        ("a script in JSON", serde_json::json!({"run": shell}).to_string()),
        ("XML in base64", STANDARD.encode(xml(value))),
        ("a form in JSON", serde_json::json!("p=kX9%27mQ2%26vL8%3CnR5+wT3z%22B7c%5CD4").to_string()),
    ] {
        assert!(is_found(value.as_bytes(), text.as_bytes()), "{what}: {text}");
    }
    let with_plus = "kX9+mQ2 vL8@nR5!wT3z";
    assert!(is_found(with_plus.as_bytes(), b"p=kX9%2BmQ2+vL8%40nR5%21wT3z"), "what is a plus stays one");
    assert!(is_found(with_plus.as_bytes(), with_plus.as_bytes()));
}

#[test]
fn a_value_with_an_indentation_of_its_own() {
    let value = "{\n  \"type\": \"service_account\",\n  \"key\": {\n    \"id\": \"kX9#mQ2$vL8@nR5!wT3z\"\n  }\n}";
    let plain = dedented(value.as_bytes()).unwrap();
    let keys = keys();
    let index = index(&keys, [value.as_bytes(), &plain]);
    let by = |indent: &str, end: &str| value.lines().map(|line| format!("{indent}{line}{end}")).collect::<String>();
    for (what, text) in [
        ("as it is", value.to_owned()),
        ("deeper", format!("key: |\n{}", by("    ", "\n"))),
        ("by tabs", by("\t", "\n")),
        ("not at all", String::from_utf8(plain.clone()).unwrap()),
        ("with carriage returns", by("  ", "\r\n")),
        ("deeper, in base64", STANDARD.encode(by("      ", "\n"))),
    ] {
        assert!(!search(text.as_bytes(), &index, &keys).0.unwrap().is_empty(), "{what}");
    }
    assert!(search(by("  ", ";\n").as_bytes(), &index, &keys).0.unwrap().is_empty(), "other ends of lines");
}

/// base64 of an escaped value, with letters of base64 right before and after it.
#[test]
fn an_escaped_value_in_base64_glued_to_other_letters() {
    let value = "kX9\"mQ2\\vL8\"nR5wT3z1pQ";
    let coded = STANDARD.encode(format!("{{\"password\": {}}}", serde_json::json!(value)));
    let coded = coded.trim_end_matches('=');
    for (before, after) in [("", "_e6d7"), ("e6d7_", ""), ("abc", "xyz0/"), ("Zm9v_-Zm", "7d6e5f4a3b2c1d0e9f8a7b6c")] {
        assert!(is_found(value.as_bytes(), format!("{before}{coded}{after}").as_bytes()), "{before} {after}");
    }
}

#[test]
fn what_is_not_found() {
    let thrice = (0..3).fold(VALUE.to_owned(), |text, _| STANDARD.encode(text));
    let reversed: String = VALUE.chars().rev().collect();
    for (what, text) in [
        ("base64 three times", thrice),
        ("a part", VALUE[..VALUE.len() - 1].to_owned()),
        ("in two", format!("{} {}", &VALUE[..8], &VALUE[8..])),
        ("reversed", reversed),
        ("another value", VALUE.replace('9', "8")),
        ("hexadecimal", VALUE.bytes().map(|b| format!("{b:02x}")).collect()),
        ("nothing", String::new()),
    ] {
        assert!(!is_found(VALUE.as_bytes(), text.as_bytes()), "{what}");
    }
}

#[test]
fn under_either_generation_of_the_key_and_none_that_is_gone() {
    let (old, new) = (keys(), rotated(keys()));
    let mut both = index(&old, [VALUE.as_bytes()]);
    let (_, marks) = new.sealed_prints(&[new.print(KEY.as_bytes())]);
    both.insert(marks.generation, marks.each[0]);
    let text = format!("{VALUE} and {KEY}");
    let found = search(text.as_bytes(), &both, &new).0.unwrap();
    assert_eq!(found, BTreeSet::from([old.fingerprint(VALUE.as_bytes()), new.fingerprint(KEY.as_bytes())]));
    let lost = SealKeys::new(Generation::from_random(&[9; 36], Timestamp::UNIX_EPOCH).unwrap());
    assert_eq!(search(text.as_bytes(), &both, &lost).0.unwrap().len(), 0);
}

/// Steps for each byte of a MiB.
fn cost(text: &[u8], index: &MarkIndex, keys: &SealKeys) -> (Result<BTreeSet<Fingerprint>, Exhausted>, f64) {
    let (found, steps) = search(text, index, keys);
    (found, steps as f64 / text.len() as f64)
}

const MIB: usize = 1 << 20;

fn filled(with: &[u8]) -> Vec<u8> {
    with.iter().copied().cycle().take(MIB).collect()
}

/// A line of an object in JSON in JSON.
fn quoted_twice(text: &str) -> String {
    serde_json::to_string(&serde_json::json!({"tls.key": text}).to_string()).unwrap() + "\n"
}

#[test]
fn decoys_cost_no_more_than_their_length() {
    let keys = keys();
    // The window of a value of one's own, over and over; then the whole value; then what is base64 at every alignment.
    let value: Vec<u8> = (0..64u8).map(|i| i.wrapping_mul(73) ^ 0xa5).collect();
    let window = &value[..WINDOW];
    let index = index(&keys, [&value[..], KEY.as_bytes(), &b"VVVVVVVVVVVVVVVVUUUUUUUUUUUUUUUU"[..]]);
    for (what, text, most) in [
        ("a window", filled(window), 10.0),
        ("a value", filled(&value), 20.0),
        ("one byte", filled(&[7]), 10.0),
        ("base64 of base64 of base64", filled(b"V"), 10.0),
        ("escapes", filled(br"\n%41"), 40.0),
        ("quotes", filled(br#"''""&amp;"#), 24.0),
        ("quotes and escapes of every kind", filled(br#"''""&amp;+\n%41\\"#), 60.0),
        ("PEM", filled(KEY.as_bytes()), 32.0),
        ("PEM in JSON in JSON", filled(quoted_twice(KEY).as_bytes()), 64.0),
        (
            "base64 of PEM in JSON",
            STANDARD.encode(filled((serde_json::to_string(KEY).unwrap() + "\n").as_bytes())).into_bytes(),
            64.0,
        ),
        ("base64 of base64 of PEM", STANDARD.encode(STANDARD.encode(filled(KEY.as_bytes()))).into_bytes(), 48.0),
        ("base64", wrapped(&STANDARD.encode(filled(&value)), 76, "\n").into_bytes(), 48.0),
    ] {
        let (found, each) = cost(&text, &index, &keys);
        println!("{what}: {each:.1} steps a byte");
        assert!(found.is_ok() && each <= most, "{what}: {each} {}", found.is_ok());
    }
}

/// Lines, words and escapes that go over the text again and again are paid for; what has many layers may have so many steps.
#[test]
fn what_is_done_for_a_text_is_paid_for_and_layers_are_no_fault() {
    let keys = keys();
    let index = index(&keys, [VALUE.as_bytes()]);
    let layers = r#"'' \\\\n "#;
    for (what, head, with) in
        [("lines", "\n \n", "\n"), ("words", " ", "a "), ("escapes that are none", "%25252541+x", "%")]
    {
        let text = [layers.as_bytes(), head.as_bytes(), &filled(with.as_bytes())].concat();
        assert_eq!(cost(&text, &index, &keys).0, Err(Exhausted), "{what}");
    }
    let certificate = KEY.replace('\n', "\\n").repeat(8);
    let envoy = format!(
        "{{\"note\": \"\", \"inline\": \"{{\\\"a\\\":\\\"b\\\\n\\\"}}\\n\", \"tls.crt\": \"{certificate}\"}}\n"
    );
    let text = envoy.repeat(200_000 / envoy.len());
    assert!(cost(text.as_bytes(), &index, &keys).0.is_ok(), "{:?}", cost(text.as_bytes(), &index, &keys).1);
    // As in /proc/PID/environ: control characters divide what is text.
    let variables = (0..70).map(|n| format!("VARIABLE_{n}=a%20b c\0")).collect::<String>();
    let escaped: String = VALUE.bytes().map(|byte| format!("%{byte:02X}")).collect();
    assert!(is_found(VALUE.as_bytes(), STANDARD.encode(format!("{variables}PASSWORD={escaped}\0")).as_bytes()));
    let latin = [b"caf\xe9 ".repeat(64), b"secret: ".to_vec(), escaped.into_bytes(), b" caf\xe9".to_vec()].concat();
    assert!(is_found(VALUE.as_bytes(), STANDARD.encode(latin).as_bytes()));
}

#[test]
fn values_made_alike_end_the_search_and_not_the_operator() {
    let keys = keys();
    // Two thousand values with the same window, of every length, and a text of what they begin with.
    let long: Vec<u8> = (0..4_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 % 4 + b'a').collect();
    let mut long = long;
    long[..16].copy_from_slice(b"0123456789ABCDEF");
    let values: Vec<&[u8]> = (0..2_000).map(|i| &long[..2_000 + i]).collect();
    let index = index(&keys, values);
    let (found, each) = cost(&filled(&long[..64]), &index, &keys);
    assert_eq!(found, Err(Exhausted));
    assert!(each < 63.0, "{each}");
    // Who has nothing of it in his text feels nothing.
    assert!(cost(&filled(b"the quick brown fox jumps over the lazy dog, "), &index, &keys).0.is_ok());
}

/// The scan of an object, where every value found is of this segment.
fn scanned(content: &Content<'_>, index: &MarkIndex, keys: &SealKeys, owner: Option<&str>) -> Scan {
    let object = ObjectRef {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        namespace: Some("billing-prod".into()),
        name: "copy".into(),
    };
    let owners = |_: &Fingerprint| {
        owner.map(|segment| Owner { segment: segment.into(), answer: Mode::Audit }).into_iter().collect()
    };
    scan(content, &object, index, keys, &owners, &|_| Vec::new())
}

#[test]
fn the_scan_says_where_and_whose_and_shows_nothing() {
    let keys = keys();
    let index = index(&keys, [VALUE.as_bytes(), KEY.as_bytes()]);
    let object = serde_json::json!({
        "metadata": {"annotations": {"note": STANDARD.encode(KEY)}},
        "data": {"app.conf": format!("password={VALUE}"), "plain": "the quick brown fox jumps over"},
        "binaryData": {"again": STANDARD.encode(VALUE)},
    });
    let metadata = serde_json::from_value(object["metadata"].clone()).unwrap();
    let content = Content::of_json("ConfigMap", &metadata, &object);
    let found = scanned(&content, &index, &keys, Some("payments/prod"));
    let [violation] = &found.violations[..] else { panic!("{found:?}") };
    assert_eq!(
        (violation.rule, violation.reason, &*violation.segment),
        ("Copies", Reason::ValueCopied, "payments/prod")
    );
    for place in [r#"data["app.conf"]"#, r#"binaryData["again"]"#, r#"metadata.annotations["note"]"#] {
        assert!(violation.message.contains(place), "{}", violation.message);
    }
    assert!(!violation.message.contains("plain") && !violation.message.contains(VALUE));
    assert_eq!(scanned(&content, &index, &keys, None), Scan::default(), "where it may be");

    let (metadata, coded) = (Default::default(), STANDARD.encode(VALUE));
    let secret = Content::of_metadata(&metadata).with("data", [(&VALUE[..1], &*coded)], true);
    assert_eq!(scanned(&secret, &index, &keys, Some("a")).violations.len(), 1);
    let named = serde_json::json!({"data": {(VALUE): "x", "b": STANDARD.encode(KEY)}});
    let found = scanned(&Content::of_json("ConfigMap", &metadata, &named), &index, &keys, Some("a"));
    assert!(
        found.violations[0].message.contains("the name of a key in data")
            && !found.violations[0].message.contains("kX9")
    );
}

#[test]
fn what_is_easy_to_guess_is_compared_whole_and_told_apart() {
    let weak = "kX9#mQ2$";
    let (old, now) = (keys(), rotated(keys()));
    let prints = [old.fingerprint(weak.as_bytes()), now.fingerprint(b"jW8#lP1$")];
    let found = |object: serde_json::Value| {
        let metadata = serde_json::from_value(object["metadata"].clone()).unwrap_or_default();
        let content = Content::of_json("Secret", &metadata, &object);
        let object = ObjectRef {
            api_version: "v1".into(),
            kind: "Secret".into(),
            namespace: Some("b".into()),
            name: "c".into(),
        };
        let payments = |print: &Fingerprint| {
            let owner = Owner { segment: "payments/prod".into(), answer: Mode::Enforce };
            prints.contains(print).then_some(owner).into_iter().collect()
        };
        let found = scan(&content, &object, &MarkIndex::default(), &now, &|_| Vec::new(), &payments);
        let tell = |v: Violation| {
            assert!(!v.message.contains(weak), "{}", v.message);
            (v.reason, v.message.split([':', '"']).nth(1).unwrap_or_default().to_owned())
        };
        found.violations.into_iter().map(tell).collect::<Vec<_>>()
    };
    let told = |key: &str| vec![(Reason::WeakValueCopied, key.to_owned())];
    assert_eq!(found(serde_json::json!({"data": {"a": STANDARD.encode(weak)}})), told("a"));
    assert_eq!(found(serde_json::json!({"stringData": {"b": format!(" {weak}\n"), "x": "y"}})), told("b"));
    assert_eq!(found(serde_json::json!({"stringData": {"c": "jW8#lP1$"}})), told("c"), "under the current key");
    for (what, object) in [
        ("inside a text", serde_json::json!({"stringData": {"a": format!("password={weak}")}})),
        ("base64 once more", serde_json::json!({"stringData": {"a": STANDARD.encode(weak)}})),
        ("in an annotation", serde_json::json!({"metadata": {"annotations": {"a": weak}}})),
        ("as the name of a key", serde_json::json!({"stringData": {(weak): "x"}})),
    ] {
        assert_eq!(found(object), [], "{what}");
    }
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![prop::collection::vec(any::<u8>(), 16..120), "[ -~]{16,120}".prop_map(String::into_bytes)]
}

fn coded(value: &[u8], how: u8, wrap: u8) -> Vec<u8> {
    let text = match how % 5 {
        0 => return value.to_vec(),
        1 => STANDARD.encode(value),
        2 => URL_SAFE.encode(value),
        3 => STANDARD_NO_PAD.encode(value),
        _ => URL_SAFE_NO_PAD.encode(value),
    };
    match wrap % 4 {
        0 => wrapped(&text, 20 + usize::from(wrap), "\n"),
        1 => wrapped(&text, 20 + usize::from(wrap), "\r\n\t "),
        _ => text,
    }
    .into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_planted_value_is_found(
        value in value(),
        around in any::<[(Vec<u8>, Vec<u8>); 3]>(),
        how in any::<[(u8, u8); 2]>(),
    ) {
        let between = |inner: Vec<u8>, (before, after): &(Vec<u8>, Vec<u8>)| [&before[..], &inner, &after[..]].concat();
        let once = coded(&between(value.clone(), &around[0]), how[0].0, how[0].1);
        let twice = coded(&between(once, &around[1]), how[1].0, how[1].1);
        prop_assert!(is_found(&value, &between(twice, &around[2])));
    }

    #[test]
    fn in_json_and_in_urls(value in "[ -~\n\t]{16,80}", name in "[ -~]{0,20}") {
        let json = serde_json::json!({name: value.clone()}).to_string();
        prop_assert!(is_found(value.as_bytes(), json.as_bytes()));
        let percent: String = value.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }).collect();
        let url = format!("https://u:{percent}@host/?a=b");
        prop_assert!(is_found(value.as_bytes(), url.as_bytes()));
    }

    #[test]
    fn nothing_else_is_found_and_nothing_panics(text in prop::collection::vec(any::<u8>(), 0..3_000), values in prop::collection::vec(value(), 0..8)) {
        let keys = keys();
        let index = index(&keys, values.iter().map(Vec::as_slice));
        let (found, steps) = search(&text, &index, &keys);
        prop_assert_eq!(found.unwrap().len(), 0);
        prop_assert!(steps <= (110 * text.len()).max(1_700_000));
    }
}
