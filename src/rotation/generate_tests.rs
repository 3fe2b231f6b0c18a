use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// Randomness that anybody can foresee: xorshift.
fn seeded(seed: u64) -> impl Fn(&mut [u8]) -> bool {
    let state = Cell::new(seed | 1);
    move |bytes| {
        for byte in bytes {
            let mut x = state.get();
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            state.set(x);
            *byte = (x >> 32) as u8;
        }
        true
    }
}

fn recipe(length: usize) -> Recipe {
    Recipe::new(length, &Class::ALL, "").unwrap()
}

fn text(text: &str) -> RemoteValue {
    RemoteValue::from_bytes(text.as_bytes().to_vec())
}

/// What the value becomes if the text made is `made`.
fn put(value: &str, property: Option<&str>, made: &str) -> Result<String, GenerateError> {
    let made = Made(Zeroizing::new(made.to_owned()));
    made.put_into(&text(value), property).map(|value| value.expose_text().unwrap().to_owned())
}

#[test]
fn a_recipe_that_cannot_be_cooked_is_refused() {
    use Class::{Digits, Lower, Symbols, Upper};
    let cases: [(usize, &[Class], &str, GenerateError); 9] = [
        (0, &[Lower], "", GenerateError::Length { length: 0 }),
        (15, &Class::ALL, "", GenerateError::Length { length: 15 }),
        (1_025, &Class::ALL, "", GenerateError::Length { length: 1_025 }),
        (16, &[], "", GenerateError::NoClass),
        (16, &[Lower, Digits], "0123456789", GenerateError::ClassEmptied { class: Digits }),
        (16, &[Digits], "", GenerateError::TooEasy { enough: 20 }),
        // One bit a character; the two texts that lack one of them do not show.
        (16, &[Digits, Lower], "23456789abcdefghijklmnopqrstuvwxy1", GenerateError::TooEasy { enough: 64 }),
        (16, &[Upper], "ABCDEFGHIJKLMNOPQRSTUVWXY", GenerateError::TooFewCharacters),
        (16, &[Symbols], r##"!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~"##, GenerateError::ClassEmptied { class: Symbols }),
    ];
    for (length, include, exclude, expected) in cases {
        let refused = Recipe::new(length, include, exclude).unwrap_err();
        assert_eq!(refused, expected, "{length} {include:?} {exclude}");
        assert_eq!(refused.reason(), Reason::SpecInvalid);
    }
    assert!(Recipe::new(20, &[Digits], "").is_ok());
    assert!(Recipe::new(16, &[Digits, Lower], "").is_ok());
    assert!(Recipe::new(16, &[Lower, Lower], "å ").is_ok(), "what could not occur may be excluded");
}

#[test]
fn what_there_is_to_guess_is_counted_exactly() {
    // 2 of 2^3 texts over {a, 0} lack a character.
    assert!((bits(3, &[1, 1]) - 6_f64.log2()).abs() < 1e-9);
    // Over {a, b, 0}: 27 - 8 without 0 - 1 without a and b.
    assert!((bits(3, &[2, 1]) - 18_f64.log2()).abs() < 1e-9);
    assert!((bits(16, &[26]) - 16.0 * 26_f64.log2()).abs() < 1e-9);
    assert!(bits(16, &[1]).abs() < 1e-9);
}

#[test]
fn every_character_is_as_likely_as_every_other() {
    for size in 1..=94_usize {
        let characters: Vec<u8> = (0..size).map(|at| b'!' + at as u8).collect();
        // Every byte once: what is left over after the last whole round is thrown away.
        let next = Cell::new(0_usize);
        let count_up = |bytes: &mut [u8]| {
            for byte in bytes {
                *byte = (next.get() % 256) as u8;
                next.set(next.get() + 1);
            }
            true
        };
        let mut dice = Dice::new(&count_up);
        let rounds = 256 / size;
        let mut drawn = BTreeMap::<u8, usize>::new();
        for _ in 0..rounds * size {
            *drawn.entry(dice.draw(&characters).unwrap()).or_default() += 1;
        }
        assert_eq!(drawn.len(), size);
        assert!(drawn.values().all(|times| *times == rounds), "{size}: {drawn:?}");
    }
}

#[test]
fn no_text_is_more_likely_for_having_a_class_at_some_place() {
    // One digit among 26 letters: if a missing digit were put in afterwards, its place would show.
    let recipe = Recipe::new(16, &[Class::Lower, Class::Digits], "123456789").unwrap();
    let random = seeded(7);
    let mut places = [0_i32; 16];
    let mut digits = 0;
    for _ in 0..4_000 {
        for (at, character) in recipe.make(&random).unwrap().expose().bytes().enumerate() {
            places[at] += i32::from(character == b'0');
            digits += i32::from(character == b'0');
        }
    }
    let expected = digits / 16;
    assert!(places.iter().all(|times| (times - expected).abs() < expected / 4), "{places:?}");
}

#[test]
fn broken_randomness_is_an_error_and_no_value() {
    let broken: [Random<'_>; 3] = [
        &|_| false,
        &|bytes| {
            bytes.fill(0xff);
            true
        },
        &|bytes| {
            bytes.fill(0);
            true
        },
    ];
    for random in broken {
        assert_eq!(recipe(16).make(random).err(), Some(GenerateError::NoRandomness));
    }
}

#[test]
fn a_text_goes_where_the_old_one_was_and_nothing_else_changes() {
    let spaced = "{ \"user\" : \"app\",\n\t\"password\":\"old\\n\\u00e5\" , \"port\": 5.40E1, \"tags\":[1, {\"password\": \"x\"}] }\n";
    let cases = [
        ("old", None, "new", Ok("new".to_owned())),
        ("", None, "new", Ok("new".to_owned())),
        ("{not json", None, "new", Ok("new".to_owned())),
        ("\"quoted\"", None, "new", Ok("new".to_owned())),
        (spaced, Some("password"), "new", Ok(spaced.replace("\"old\\n\\u00e5\"", "\"new\""))),
        (spaced, Some("/tags/1/password"), "a\"b\\", Ok(spaced.replace("\"x\"", "\"a\\\"b\\\\\""))),
        (r#"{"a/b":"x"}"#, Some("/a~1b"), "new", Ok(r#"{"a/b":"new"}"#.to_owned())),
        (r#"{"p\u0061ss":"x"}"#, Some("pass"), "new", Ok(r#"{"p\u0061ss":"new"}"#.to_owned())),
        (r#"{"a":""}"#, Some("a"), "new", Ok(r#"{"a":"new"}"#.to_owned())),
    ];
    for (value, property, made, expected) in cases {
        assert_eq!(put(value, property, made), expected, "{value} {property:?}");
    }
}

#[test]
fn where_no_text_is_clearly_meant_nothing_is_replaced() {
    let property = || "pass".to_owned();
    let cases = [
        (r#"{"user":"app"}"#, Some("pass"), GenerateError::PropertyMissing { property: property() }),
        ("plain", Some("pass"), GenerateError::NotJson { property: property() }),
        (r#"["pass"]"#, Some("pass"), GenerateError::NotJson { property: property() }),
        (r#"{"pass":"x"} and more"#, Some("pass"), GenerateError::NotJson { property: property() }),
        (r#"{"pass":"x","pass":"y"}"#, Some("pass"), GenerateError::Ambiguous),
        (r#"{"pass":"x","p\u0061ss":"y"}"#, Some("pass"), GenerateError::Ambiguous),
        (r#"{"user":1,"pass":"x","user":2}"#, Some("pass"), GenerateError::Ambiguous),
        (r#"{"pass":7}"#, Some("pass"), GenerateError::PropertyNotText { property: property() }),
        (r#"{"pass":true}"#, Some("pass"), GenerateError::PropertyNotText { property: property() }),
        (r#"{"pass":null}"#, Some("pass"), GenerateError::PropertyNotText { property: property() }),
        (r#"{"pass":{"x":"y"}}"#, Some("pass"), GenerateError::PropertyNotText { property: property() }),
        (r#"{"pass":["x"]}"#, Some("pass"), GenerateError::PropertyNotText { property: property() }),
        (r#"{"pass":"x"}"#, None, GenerateError::PropertyNeeded),
        ("  [\"x\"]", None, GenerateError::PropertyNeeded),
    ];
    for (value, property, expected) in cases {
        let refused = put(value, property, "new").unwrap_err();
        assert_eq!(refused, expected, "{value} {property:?}");
        let said = refused.to_string();
        assert!(!said.contains("user") && !said.contains("\"x\""), "tells what the remote value has: {said}");
    }
    let binary = RemoteValue::from_bytes(vec![0xff, 0xfe]);
    for property in [None, Some("pass")] {
        let refused = recipe(16).renew(&binary, property, &seeded(1)).unwrap_err();
        assert_eq!((&refused, refused.reason()), (&GenerateError::Binary, Reason::PropertyInvalid));
    }
}

#[test]
fn what_would_be_too_large_is_not_made() {
    let filled = |size: usize| format!("{{\"pass\":\"\",\"rest\":\"{}\"}}", "x".repeat(size - 21));
    assert_eq!(filled(100).len(), 100);
    let room = filled(MAX_VALUE_BYTES - 16);
    assert_eq!(put(&room, Some("pass"), &"a".repeat(16)).map(|value| value.len()), Ok(MAX_VALUE_BYTES));
    assert_eq!(put(&room, Some("pass"), &"a".repeat(17)), Err(GenerateError::TooLarge));
    assert_eq!(put(&room, Some("pass"), &"\"".repeat(9)), Err(GenerateError::TooLarge));
}

/// A JSON value as somebody may have written it.
fn written() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        any::<String>().prop_map(|text| Value::from(text).to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        prop::sample::select(vec!["1.10", "1E400", "-0", "true", "false", "null", "\"\\u00e5\\/\"", "{}", "[ ]"])
            .prop_map(str::to_owned),
    ];
    scalar.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(" ,"))),
            // Names that occur twice further in are nobody's business.
            inner.prop_map(|value| format!("{{ \"same\":{value},\"same\":{value}}}")),
        ]
    })
}

fn blank() -> impl Strategy<Value = String> {
    "[ \n\t\r]{0,3}"
}

/// An object's text with `value` as the value of the property at `at`.
fn object(members: &[(String, String, String)], at: usize, value: &str) -> String {
    let member = |(n, (name, written, blank)): (usize, &(String, String, String))| {
        let written = if n == at { value } else { written };
        format!("{blank}{}{blank}:{blank}{written}{blank}", Value::from(name.as_str()))
    };
    let members: Vec<String> = members.iter().enumerate().map(member).collect();
    format!(" {{{}}}\n", members.join(","))
}

fn classes() -> impl Strategy<Value = Vec<Class>> {
    prop::sample::subsequence(Class::ALL.to_vec(), 1..=4)
}

proptest! {
    #[test]
    fn a_made_text_is_as_the_recipe_says(length in 0_usize..80, include in classes(), exclude in "[ -~]{0,60}", seed: u64) {
        let random = seeded(seed);
        match Recipe::new(length, &include, &exclude) {
            Ok(recipe) => {
                let made = recipe.make(&random).unwrap();
                let text = made.expose();
                prop_assert_eq!(text.len(), length);
                prop_assert!(text.bytes().all(|c| include.iter().any(|class| class.has(c))));
                prop_assert!(include.iter().all(|class| text.bytes().any(|c| class.has(c))));
                prop_assert!(!text.chars().any(|c| exclude.contains(c)));
                let sizes: Vec<usize> = include.iter().map(|class| {
                    (b'!'..=b'~').filter(|c| class.has(*c) && !exclude.contains(char::from(*c))).count()
                }).collect();
                prop_assert!(bits(length, &sizes) >= MIN_BITS);
            }
            // What it says would be enough is.
            Err(GenerateError::TooEasy { enough }) => {
                prop_assert!(Recipe::new(enough, &include, &exclude).is_ok());
                prop_assert!(Recipe::new(enough - 1, &include, &exclude).is_err());
            }
            Err(refused) => prop_assert_eq!(refused.reason(), Reason::SpecInvalid),
        }
    }

    #[test]
    fn one_property_changes_and_the_rest_stays_to_the_byte(
        members in prop::collection::vec((any::<String>(), written(), blank()), 1..6),
        at: prop::sample::Index,
        old: String,
        seed: u64,
    ) {
        let at = at.index(members.len());
        let names: BTreeSet<&String> = members.iter().map(|(name, ..)| name).collect();
        prop_assume!(names.len() == members.len());
        // A name that begins with a slash would be read as a pointer.
        let name = &members[at].0;
        let property = if name.starts_with('/') { format!("/{}", name.replace('~', "~0").replace('/', "~1")) } else { name.clone() };
        let before = object(&members, at, &Value::from(old).to_string());
        let made = recipe(20).make(&seeded(seed)).unwrap();
        let after = made.put_into(&text(&before), Some(&property)).unwrap();
        prop_assert_eq!(after.expose_text().unwrap(), object(&members, at, &Value::from(made.expose()).to_string()));
    }

    #[test]
    fn a_name_that_occurs_twice_is_refused(
        members in prop::collection::vec((any::<String>(), written(), blank()), 1..5),
        at: prop::sample::Index,
    ) {
        let mut members = members;
        let again = members[at.index(members.len())].clone();
        prop_assume!(!again.0.starts_with('/'));
        members.push(again.clone());
        let refused = put(&object(&members, 0, "\"old\""), Some(&again.0), "new");
        prop_assert_eq!(refused, Err(GenerateError::Ambiguous));
    }

    #[test]
    fn whatever_the_value_is_it_is_renewed_or_refused(value: String, property in prop::option::of(any::<String>())) {
        let _ = recipe(20).renew(&text(&value), property.as_deref(), &seeded(1));
    }
}

#[test]
fn what_was_made_of_a_value_is_known_by_the_rest_of_it() {
    let text = |text: &str| RemoteValue::Text(SecretBytes::new(text.as_bytes().to_vec()));
    let before = r#"{"user": "ada", "password": "old", "port": 1}"#;
    for (value, property, expected) in [
        (r#"{"user": "ada", "password": "new\"", "port": 1}"#, Some("password"), true),
        (before, Some("/password"), true),
        (r#"{"user": "bob", "password": "new", "port": 1}"#, Some("password"), false),
        (r#"{"user": "ada", "password": "new", "port": 1, "more": 2}"#, Some("password"), false),
        (r#"{"user": "ada", "password": "new", "port": 1}"#, Some("user"), false),
        (r#"{"user": "ada", "port": 1}"#, Some("password"), false),
        ("text", Some("password"), false),
        ("text", None, false),
    ] {
        assert_eq!(renews(&text(value), &text(before), property), expected, "{value} {property:?}");
    }
    assert!(renews(&text("new"), &text("old"), None));
    assert!(!renews(&text("new"), &RemoteValue::Binary(SecretBytes::new(vec![1])), None));
}
