//! Key patterns of a policy: anchored, whole parts only, so that what they cover can be read off them.

use crate::api::NAMESPACE_NAME_LABEL;

use super::key::{InvalidKey, check_part, split_arn};
use std::collections::BTreeMap;
use std::fmt;

/// A compiled key pattern.
///
/// `*` is exactly one part, `**` one or more and only last, `${namespace}` and `${label:KEY}` fill a whole part. A
/// missing or empty label matches nothing. The label kubernetes.io/metadata.name, which Kubernetes itself keeps, is the
/// namespace's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPattern {
    text: String,
    /// Region and account, where the pattern has a full ARN prefix; else the store's own.
    scope: Option<(String, String)>,
    leading_slash: bool,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    One,
    Many,
    Namespace,
    Label(String),
}

/// Why a text is not a key pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum InvalidPattern {
    #[error("'**' stands only as the last part")]
    ManyNotLast,
    #[error("a wildcard or placeholder fills a whole part, between slashes")]
    NotAWholePart,
    #[error("it has an unknown placeholder: write ${{namespace}} or ${{label:KEY}}")]
    UnknownPlaceholder,
    #[error("{0}")]
    Part(#[from] InvalidKey),
}

/// What fills the placeholders: the namespace that claims.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// The namespace's name.
    pub namespace: &'a str,
    /// The namespace's labels.
    pub labels: &'a BTreeMap<String, String>,
}

/// Where a key lives, as seen from the store that an allow entry names. A pattern without an ARN prefix speaks of the
/// store's own account only; one with it, of exactly that region and account.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Whether it is the store's own account and region (or directory).
    pub own: bool,
    /// Region and account, if known.
    pub at: Option<(&'a str, &'a str)>,
}

impl Place<'_> {
    /// The store's own account, which need not be known.
    pub const OWN: Place<'static> = Place { own: true, at: None };
}

impl KeyPattern {
    /// Compiles a pattern.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let (scope, path) = match split_arn(text) {
            Some((region, account, rest)) => (Some((region.to_owned(), account.to_owned())), rest),
            None => (None, text),
        };
        let (leading_slash, mut rest) = match path.strip_prefix('/') {
            Some(rest) => (true, rest),
            None => (false, path),
        };
        let mut parts = Vec::new();
        loop {
            let end = part_end(rest)?;
            let (part, after) = rest.split_at(end);
            parts.push(parse_part(part)?);
            match after.strip_prefix('/') {
                Some(next) => rest = next,
                None => break,
            }
        }
        if parts.iter().rev().skip(1).any(|p| *p == Part::Many) {
            return Err(InvalidPattern::ManyNotLast);
        }
        Ok(Self { text: text.to_owned(), scope, leading_slash, parts })
    }

    /// Whether it covers the name of a key that lives at `place`.
    pub fn covers(&self, name: &str, place: Place<'_>, binding: Binding<'_>) -> bool {
        self.fits(name, place, binding, |label, found| {
            binding.labels.get(label).is_some_and(|value| !value.is_empty() && value == found)
        })
    }

    /// The labels that keep it from covering the name, with the values that would not; None: it is not up to labels.
    pub fn decided_by<'a>(
        &'a self,
        name: &'a str,
        place: Place<'_>,
        binding: Binding<'_>,
    ) -> Option<BTreeMap<&'a str, &'a str>> {
        let mut asked = BTreeMap::new();
        let fits = self.fits(name, place, binding, |label, found| *asked.entry(label).or_insert(found) == found);
        asked.retain(|label, found| binding.labels.get(*label).map(String::as_str) != Some(*found));
        (fits && !asked.is_empty()).then_some(asked)
    }

    /// Whether it speaks of keys that live at `place`.
    pub fn speaks_of(&self, place: Place<'_>) -> bool {
        match &self.scope {
            None => place.own,
            Some((region, account)) => place.at == Some((region, account)),
        }
    }

    /// Whether it covers the name where each label's part is as `label` wants it.
    fn fits<'a>(
        &'a self,
        name: &'a str,
        place: Place<'_>,
        binding: Binding<'_>,
        mut label: impl FnMut(&'a str, &'a str) -> bool,
    ) -> bool {
        if !self.speaks_of(place) {
            return false;
        }
        let name = match (self.leading_slash, name.strip_prefix('/')) {
            (true, Some(rest)) => rest,
            (false, None) => name,
            _ => return false,
        };
        let mut names = name.split('/');
        for part in &self.parts {
            let Some(found) = names.next().filter(|n| !n.is_empty()) else { return false };
            let fits = match part {
                Part::Many => return names.all(|n| !n.is_empty()),
                Part::One => true,
                Part::Literal(text) => text == found,
                Part::Namespace => binding.namespace == found,
                Part::Label(key) => label(key, found),
            };
            if !fits {
                return false;
            }
        }
        names.next().is_none()
    }

    /// Whether no two segments can claim one key by it: it has `${namespace}` or every segment label.
    pub fn separates(&self, segment_labels: &[String]) -> bool {
        self.parts.contains(&Part::Namespace)
            || segment_labels
                .iter()
                .all(|label| self.parts.iter().any(|p| matches!(p, Part::Label(key) if key == label)))
    }

    /// The labels that its placeholders name.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|p| if let Part::Label(key) = p { Some(key.as_str()) } else { None })
    }

    /// What the last part of a name must be; None: anything.
    pub fn last<'a>(&'a self, binding: Binding<'a>) -> Option<&'a str> {
        match self.parts.last()? {
            Part::One | Part::Many => None,
            Part::Literal(text) => Some(text),
            Part::Namespace => Some(binding.namespace),
            // A label that is missing matches nothing.
            Part::Label(key) => Some(binding.labels.get(key).map_or("", String::as_str)),
        }
    }

    /// The pattern as one namespace sees it: placeholders filled in.
    pub fn filled(&self, binding: Binding<'_>) -> String {
        let parts: Vec<&str> = self
            .parts
            .iter()
            .map(|p| match p {
                Part::Literal(text) => text.as_str(),
                Part::One => "*",
                Part::Many => "**",
                Part::Namespace => binding.namespace,
                Part::Label(key) => binding.labels.get(key).map_or("", String::as_str),
            })
            .collect();
        // A pattern that speaks of an account and a region is of no use without them.
        let scope = split_arn(&self.text).map_or("", |(.., path)| &self.text[..self.text.len() - path.len()]);
        format!("{scope}{}{}", if self.leading_slash { "/" } else { "" }, parts.join("/"))
    }
}

/// Where the first part ends: at the next slash outside a placeholder (label keys may have slashes).
fn part_end(rest: &str) -> Result<usize, InvalidPattern> {
    if !rest.starts_with("${") {
        return Ok(rest.find('/').unwrap_or(rest.len()));
    }
    let end = rest.find('}').ok_or(InvalidPattern::UnknownPlaceholder)? + 1;
    if rest[end..].is_empty() || rest[end..].starts_with('/') { Ok(end) } else { Err(InvalidPattern::NotAWholePart) }
}

fn parse_part(part: &str) -> Result<Part, InvalidPattern> {
    match part {
        "*" => return Ok(Part::One),
        "**" => return Ok(Part::Many),
        "${namespace}" => return Ok(Part::Namespace),
        _ => {}
    }
    if part.strip_prefix("${label:").and_then(|p| p.strip_suffix('}')) == Some(NAMESPACE_NAME_LABEL) {
        return Ok(Part::Namespace);
    }
    if let Some(key) = part.strip_prefix("${label:").and_then(|p| p.strip_suffix('}')) {
        let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "./_-".contains(c));
        return if plain { Ok(Part::Label(key.to_owned())) } else { Err(InvalidPattern::UnknownPlaceholder) };
    }
    if part.starts_with("${") {
        return Err(InvalidPattern::UnknownPlaceholder);
    }
    if part.contains('*') || part.contains("${") {
        return Err(InvalidPattern::NotAWholePart);
    }
    check_part(part)?;
    Ok(Part::Literal(part.to_owned()))
}

impl fmt::Display for KeyPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels() -> BTreeMap<String, String> {
        [("tenant", "payments"), ("environment", "prod"), ("empty", ""), ("example.com/team", "core")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into()
    }

    fn covers(pattern: &str, name: &str) -> bool {
        let labels = labels();
        KeyPattern::parse(pattern).unwrap().covers(
            name,
            Place::OWN,
            Binding { namespace: "payments-prod", labels: &labels },
        )
    }

    #[test]
    fn labels_that_decide_are_told() {
        let labels = labels();
        for (pattern, name, expected) in [
            ("${label:tenant}/${label:environment}/**", "billing/prod/db", "tenant=billing"),
            ("${label:tenant}/${label:environment}/**", "billing/staging/db", "environment=staging tenant=billing"),
            ("${label:missing}/**", "core/db", "missing=core"),
            ("${label:tenant}/x/${label:tenant}", "billing/x/billing", "tenant=billing"),
            // It covers it; no label makes it cover that.
            ("${label:tenant}/**", "payments/db", ""),
            ("${label:tenant}/x/${label:tenant}", "billing/x/payments", ""),
            ("${label:tenant}/prod/**", "billing/staging/db", ""),
            ("${namespace}/${label:tenant}", "other/billing", ""),
            ("/${label:tenant}/**", "billing/db", ""),
        ] {
            let pattern = KeyPattern::parse(pattern).unwrap();
            let decided = pattern.decided_by(name, Place::OWN, Binding { namespace: "payments-prod", labels: &labels });
            let told: Vec<String> = decided.iter().flatten().map(|(label, value)| format!("{label}={value}")).collect();
            assert_eq!(told.join(" "), expected, "{pattern} and {name}");
            assert_eq!(decided.is_none(), expected.is_empty(), "{pattern} and {name}");
        }
    }

    #[test]
    fn covers_what_it_says_and_nothing_else() {
        for (pattern, name, expected) in [
            ("${label:tenant}/${label:environment}/**", "payments/prod/db", true),
            ("${label:tenant}/${label:environment}/**", "payments/prod/a/b/c", true),
            ("${label:tenant}/${label:environment}/**", "payments/prod", false),
            ("${label:tenant}/${label:environment}/**", "payments/staging/db", false),
            ("${label:tenant}/${label:environment}/**", "payments/prod-eu/db", false),
            ("${label:tenant}/**", "payments2/db", false),
            ("${label:missing}/**", "payments/db", false),
            ("${label:missing}/**", "/db", false),
            ("${label:empty}/**", "/db", false),
            ("${label:example.com/team}/*", "core/db", true),
            ("${namespace}/*", "payments-prod/db", true),
            ("${namespace}/*", "payments-prod/db/more", false),
            ("${label:kubernetes.io/metadata.name}/*", "payments-prod/db", true),
            ("${label:kubernetes.io/metadata.name}/*", "payments-staging/db", false),
            ("shared/*/db", "shared/x/db", true),
            ("shared/*/db", "shared/x/y/db", false),
            ("**", "a", true),
            ("**", "a/b", true),
            ("**", "/a", false),
            ("/**", "/a/b", true),
            ("/app/*", "/app/db", true),
            ("/app/*", "app/db", false),
            ("app/db", "app/db", true),
            ("app/db", "xapp/db", false),
            ("app/db", "app/db/", false),
            ("app/d.b", "app/dxb", false),
        ] {
            assert_eq!(covers(pattern, name), expected, "{pattern} and {name}");
        }
    }

    #[test]
    fn another_account_needs_its_arn_prefix() {
        let labels = labels();
        let binding = Binding { namespace: "n", labels: &labels };
        let own = Place { own: true, at: Some(("eu-west-1", "111111111111")) };
        let foreign = Place { own: false, at: Some(("eu-west-1", "999999999999")) };
        let plain = KeyPattern::parse("${label:tenant}/**").unwrap();
        assert!(plain.covers("payments/db", own, binding) && !plain.covers("payments/db", foreign, binding));
        let scoped =
            KeyPattern::parse("arn:aws:secretsmanager:eu-west-1:999999999999:secret:${label:tenant}/**").unwrap();
        assert!(scoped.covers("payments/db", foreign, binding) && !scoped.covers("payments/db", own, binding));
        assert_eq!(plain.filled(binding), "payments/**");
        assert_eq!(scoped.filled(binding), "arn:aws:secretsmanager:eu-west-1:999999999999:secret:payments/**");
    }

    #[test]
    fn refuses_what_can_be_misread() {
        for text in [
            "",
            "/",
            "a//b",
            "a/",
            "a/**/b",
            "**/a",
            "a*",
            "pre-${namespace}",
            "${namespace}-db",
            "${label:}",
            "${labels:x}",
            "${namespace",
            "a/../b",
            "a/./b",
            "a b",
            "a/%2e",
            "${label:a b}/x",
            "arn:aws:secretsmanager:eu-west-1:1:secret:a",
        ] {
            assert!(KeyPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn says_whether_it_keeps_segments_apart() {
        let segment = ["tenant".to_owned(), "environment".to_owned()];
        for (pattern, expected) in [
            ("${label:tenant}/${label:environment}/**", true),
            ("${namespace}/**", true),
            ("${label:kubernetes.io/metadata.name}/**", true),
            ("${label:tenant}/**", false),
            ("shared/**", false),
        ] {
            assert_eq!(KeyPattern::parse(pattern).unwrap().separates(&segment), expected, "{pattern}");
        }
    }

    fn any_part() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z]{1,6}",
            Just("*".to_owned()),
            Just("${namespace}".to_owned()),
            Just("${label:tenant}".to_owned()),
        ]
    }

    /// One pass over both, however long: no star is tried twice.
    #[test]
    fn takes_no_longer_than_it_is_long() {
        let labels = labels();
        let begun = std::time::Instant::now();
        let pattern = KeyPattern::parse(&format!("{}**", "*/".repeat(100_000))).unwrap();
        let name = "a/".repeat(200_000) + "a";
        let binding = Binding { namespace: "n", labels: &labels };
        assert!(pattern.covers(&name, Place::OWN, binding) && !pattern.covers(&name[..1000], Place::OWN, binding));
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
    }

    proptest! {
        #[test]
        fn never_panics(pattern in ".{0,40}", name in ".{0,40}") {
            let labels = labels();
            if let Ok(pattern) = KeyPattern::parse(&pattern) {
                pattern.covers(&name, Place::OWN, Binding { namespace: "n", labels: &labels });
            }
        }

        /// What it says is what it was read from, and saying it again changes nothing.
        #[test]
        fn a_pattern_is_its_text(text in "/?([a-z*${}:./_-]{0,12}/){0,4}[a-z*${}:._-]{0,12}") {
            if let Ok(pattern) = KeyPattern::parse(&text) {
                prop_assert_eq!(pattern.to_string(), text.clone());
                prop_assert_eq!(KeyPattern::parse(&text).unwrap(), pattern);
            }
        }

        /// Only `**` covers a key with one part more; and it covers every one.
        #[test]
        fn no_part_more(parts in prop::collection::vec(any_part(), 1..6), many in any::<bool>(), names in prop::collection::vec("[a-z]{1,6}", 6), more in "[a-z]{1,6}") {
            let labels = labels();
            let binding = Binding { namespace: "payments-prod", labels: &labels };
            let tail = if many { "/**" } else { "" };
            let pattern = KeyPattern::parse(&(parts.join("/") + tail)).unwrap();
            let mut key: Vec<&str> = parts.iter().zip(&names).map(|(part, name)| match part.as_str() {
                "*" => name.as_str(),
                "${namespace}" => "payments-prod",
                "${label:tenant}" => "payments",
                literal => literal,
            }).collect();
            if many {
                key.push(&names[5]);
            }
            let covers = |key: &[&str]| pattern.covers(&key.join("/"), Place::OWN, binding);
            prop_assert!(covers(&key), "{} does not cover {:?}", pattern, key);
            prop_assert!(!covers(&key[..key.len() - 1]), "{} covers too little", pattern);
            key.push(&more);
            prop_assert_eq!(covers(&key), many);
        }

        /// A key of another tenant's folder is no longer covered by any pattern that begins with the own one.
        #[test]
        fn nothing_gets_around_the_first_part(name in "[a-zA-Z0-9_+=.@/-]{0,40}") {
            let labels = labels();
            let pattern = KeyPattern::parse("${label:tenant}/**").unwrap();
            let covered = pattern.covers(&name, Place::OWN, Binding { namespace: "n", labels: &labels });
            prop_assert!(!covered || name.starts_with("payments/"));
        }

        #[test]
        fn a_separating_pattern_never_covers_for_two_tenants(
            a in "[a-z]{1,6}", b in "[a-z]{1,6}", name in "[a-z]{1,6}(/[a-z]{1,6}){0,3}"
        ) {
            prop_assume!(a != b);
            let pattern = KeyPattern::parse("${label:tenant}/**").unwrap();
            let of = |tenant: &str| BTreeMap::from([("tenant".to_owned(), tenant.to_owned())]);
            let (la, lb) = (of(&a), of(&b));
            let covers = |labels| pattern.covers(&name, Place::OWN, Binding { namespace: "n", labels });
            prop_assert!(!(covers(&la) && covers(&lb)));
        }
    }
}
