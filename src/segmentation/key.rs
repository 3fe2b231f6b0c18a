//! Remote keys: what users write, and the one canonical form in which keys are compared.

use std::fmt;
use std::sync::Arc;

/// A remote key as a claim names it: one exact name, or a complete ARN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteKey {
    /// A name in the store's own account and region.
    Name(String),
    /// A complete ARN.
    Arn(SecretArn),
}

/// The parts of a complete Secrets Manager ARN, `arn:PARTITION:secretsmanager:REGION:ACCOUNT:secret:NAME-AbCdEf`.
/// Secrets Manager appends a hyphen and six characters to every name
/// (<https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_iam-permissions.html>).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretArn {
    /// The whole ARN.
    pub text: String,
    /// Such as eu-west-1.
    pub region: String,
    /// Twelve digits.
    pub account: String,
    /// The name, without the six characters.
    pub name: String,
}

/// Why a text is not one exact remote key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum InvalidKey {
    #[error("it is empty: write the key's exact name")]
    Empty,
    #[error("it is longer than 512 characters, which Secrets Manager does not allow")]
    TooLong,
    #[error("it has an empty part: write single slashes between parts and none at the end")]
    EmptyPart,
    #[error("it has a part '.' or '..': write the exact name as the manager shows it")]
    DotPart,
    #[error(
        "it has the character {0:?}, which Secrets Manager does not allow in a name (letters, digits and /_+=.@-); patterns belong in a SegmentationPolicy"
    )]
    Character(char),
    #[error(
        "it is an incomplete ARN: write arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-AbCdEf with the six characters that Secrets Manager appended, or the name alone in the store's own account"
    )]
    PartialArn,
    #[error(
        "a file store's keys have no leading slash, no ARN and no .json at their end: write the path below the store's directory"
    )]
    NotAFileKey,
    #[error("its region is {arn}, and the store reaches {store}: use a store of that region")]
    OtherRegion { arn: String, store: String },
}

/// The length that Secrets Manager allows a name
/// (<https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>).
const NAME_LIMIT: usize = 512;

/// Checks one name: parts of allowed characters between single slashes; a leading slash belongs to the name.
pub(super) fn check_name(name: &str) -> Result<(), InvalidKey> {
    if name.is_empty() {
        return Err(InvalidKey::Empty);
    }
    if name.len() > NAME_LIMIT {
        return Err(InvalidKey::TooLong);
    }
    name.strip_prefix('/').unwrap_or(name).split('/').try_for_each(check_part)
}

/// Checks one part of a name or pattern.
pub(super) fn check_part(part: &str) -> Result<(), InvalidKey> {
    match part {
        "" => Err(InvalidKey::EmptyPart),
        "." | ".." => Err(InvalidKey::DotPart),
        _ => match part.chars().find(|c| !(c.is_ascii_alphanumeric() || "_+=.@-".contains(*c))) {
            Some(c) => Err(InvalidKey::Character(c)),
            None => Ok(()),
        },
    }
}

/// Splits `arn:PARTITION:secretsmanager:REGION:ACCOUNT:secret:` off a text.
pub(super) fn split_arn(text: &str) -> Option<(&str, &str, &str)> {
    let mut parts = text.splitn(7, ':');
    let head = (parts.next()?, parts.next()?, parts.next()?);
    let (region, account, kind, rest) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (arn, partition, service) = head;
    let lower = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let known = arn == "arn"
        && partition.starts_with("aws")
        && lower(partition)
        && service == "secretsmanager"
        && kind == "secret";
    let account_ok = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    (known && lower(region) && account_ok).then_some((region, account, rest))
}

impl RemoteKey {
    /// Reads what a user wrote.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        if !text.starts_with("arn:") {
            check_name(text)?;
            return Ok(Self::Name(text.to_owned()));
        }
        let (region, account, rest) = split_arn(text).ok_or(InvalidKey::PartialArn)?;
        let (name, suffix) = rest.rsplit_once('-').ok_or(InvalidKey::PartialArn)?;
        if suffix.len() != 6 || !suffix.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(InvalidKey::PartialArn);
        }
        check_name(name)?;
        Ok(Self::Arn(SecretArn {
            text: text.into(),
            region: region.into(),
            account: account.into(),
            name: name.into(),
        }))
    }

    /// As the user wrote it.
    pub fn as_written(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Arn(arn) => &arn.text,
        }
    }

    /// The name that patterns are matched against.
    pub fn name(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Arn(arn) => &arn.name,
        }
    }
}

/// Where a store's names live: what turns a name into a canonical key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Realm {
    /// One account and region of AWS.
    Aws {
        /// Twelve digits.
        account: String,
        /// Such as eu-west-1.
        region: String,
    },
    /// A directory.
    File {
        /// Absolute, without a slash at its end.
        path: String,
    },
}

impl Realm {
    /// The canonical form of a key in this realm, and the id to ask the manager by: the name, or the full ARN only across
    /// accounts.
    pub fn resolve(&self, key: &RemoteKey) -> Result<(CanonicalKey, String), InvalidKey> {
        match (self, key) {
            (Self::Aws { account, region }, RemoteKey::Name(name)) => {
                Ok((CanonicalKey::aws(account, region, name), name.clone()))
            }
            (Self::Aws { region, .. }, RemoteKey::Arn(arn)) if arn.region != *region => {
                Err(InvalidKey::OtherRegion { arn: arn.region.clone(), store: region.clone() })
            }
            (Self::Aws { account, .. }, RemoteKey::Arn(arn)) => {
                let ask = if arn.account == *account { arn.name.clone() } else { arn.text.clone() };
                Ok((CanonicalKey::aws(&arn.account, &arn.region, &arn.name), ask))
            }
            (Self::File { path }, RemoteKey::Name(name)) if !name.starts_with('/') && !name.ends_with(".json") => {
                Ok((CanonicalKey::file(path, name), name.clone()))
            }
            (Self::File { .. }, _) => Err(InvalidKey::NotAFileKey),
        }
    }
}

/// A remote key in the one form in which keys are compared: `aws:ACCOUNT:REGION:NAME` or `file:PATH`.
/// A name, a full ARN, and two stores that reach the same account and region all give the same one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CanonicalKey(Arc<str>);

impl CanonicalKey {
    /// Of a key's name in an account and a region.
    pub(super) fn aws(account: &str, region: &str, name: &str) -> Self {
        Self(["aws:", account, ":", region, ":", name].concat().into())
    }

    fn file(root: &str, name: &str) -> Self {
        Self(format!("file:{}/{name}", root.trim_end_matches('/')).into())
    }

    /// The canonical key of an answer, from the manager's own identity of it (a full ARN, or `file:PATH`) and its name.
    /// None if the two do not belong together.
    pub fn of_answer(id: &str, name: &str) -> Option<Self> {
        if id.starts_with("file:") {
            return Some(Self(id.into()));
        }
        let (region, account, rest) = split_arn(id)?;
        let suffix = rest.strip_prefix(name)?.strip_prefix('-')?;
        (suffix.len() == 6).then(|| Self::aws(account, region, name))
    }

    /// Of a complete ARN.
    pub fn of_arn(arn: &SecretArn) -> Self {
        Self::aws(&arn.account, &arn.region, &arn.name)
    }

    /// Account, region and name, if it is one of AWS.
    pub fn in_aws(&self) -> Option<(&str, &str, &str)> {
        let mut parts = self.0.strip_prefix("aws:")?.splitn(3, ':');
        Some((parts.next()?, parts.next()?, parts.next()?))
    }

    /// Whether it is a file of a directory.
    pub fn is_file(&self) -> bool {
        self.0.starts_with("file:")
    }

    /// One that is written whole; None: it is a name, or an ARN.
    pub fn written_whole(text: &str) -> Option<Self> {
        ["aws:", "file:"].iter().any(|place| text.starts_with(place)).then(|| Self(text.into()))
    }

    /// Reads a canonical key back from a seal.
    pub fn from_sealed(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The realm and the name within it. For a file the split of root and name is the caller's: the root is given.
    pub fn name_within<'a>(&'a self, realm: &Realm) -> Option<&'a str> {
        match realm {
            Realm::Aws { account, region } => self
                .0
                .strip_prefix("aws:")?
                .strip_prefix(account.as_str())?
                .strip_prefix(':')?
                .strip_prefix(region.as_str())?
                .strip_prefix(':'),
            Realm::File { path } => {
                self.0.strip_prefix("file:")?.strip_prefix(path.trim_end_matches('/'))?.strip_prefix('/')
            }
        }
    }

    /// All but the last part of its name.
    pub fn folder(&self) -> &str {
        &self.0[..self.0.rfind(['/', ':']).map_or(0, |at| at + 1)]
    }

    /// The key of the same folder whose last part is this.
    pub fn beside(&self, last: &str) -> Self {
        Self(format!("{}{last}", self.folder()).into())
    }

    /// Account, region and name of an AWS key.
    pub fn aws_parts(&self) -> Option<(&str, &str, &str)> {
        // Byte by byte: they are short, and this is asked for every key that is judged.
        let divided = |text: &'_ str| text.bytes().position(|byte| byte == b':');
        let parts = self.0.strip_prefix("aws:")?;
        let (account, rest) = parts.split_at(divided(parts)?);
        let (region, name) = rest[1..].split_at(divided(&rest[1..])?);
        Some((account, region, &name[1..]))
    }
}

impl fmt::Display for CanonicalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is written, it is one exact key, as it was written, or refused.
        #[test]
        fn reads_or_refuses(text in ".{0,60}", made in "(arn:aws:secretsmanager:eu-west-1:[0-9]{11,13}:secret:)?/?([a-z.%*]{0,3}/){0,3}[a-z.]{0,4}(-[A-Za-z0-9]{5,7})?") {
            for text in [text, made] {
                let Ok(key) = RemoteKey::parse(&text) else { continue };
                prop_assert_eq!(key.as_written(), &text);
                let name = key.name();
                prop_assert!(!name.split('/').any(|part| part == "." || part == ".."), "{}", name);
                prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c)), "{}", name);
                if let Ok((canonical, ask)) = realm().resolve(&key) {
                    prop_assert!(canonical.as_str().ends_with(name) && ask.contains(name));
                }
            }
        }

        /// Two names are never one key, and a name is one key whether it is written as such or as an ARN.
        #[test]
        fn one_name_one_key(a in "[a-z]{1,4}(/[a-z]{1,4}){0,2}", b in "[a-z]{1,4}(/[a-z]{1,4}){0,2}", end in "[A-Za-z0-9]{6}") {
            let canonical = |text: &str| realm().resolve(&RemoteKey::parse(text).unwrap()).unwrap().0;
            prop_assert_eq!(canonical(&a) == canonical(&b), a == b);
            let arn = format!("arn:aws:secretsmanager:eu-west-1:123456789012:secret:{a}-{end}");
            prop_assert_eq!(canonical(&arn), canonical(&a));
            prop_assert_eq!(CanonicalKey::of_answer(&arn, &a), Some(canonical(&a)));
            if a != b {
                prop_assert!(CanonicalKey::of_answer(&arn, &b) != Some(canonical(&a)));
            }
        }

        /// What a manager calls its answer is not trusted to be well formed.
        #[test]
        fn answers_of_any_form(id in ".{0,60}", name in ".{0,20}", arn in "arn:aws:secretsmanager:[a-z0-9:-]{0,40}secret:.{0,20}") {
            let _ = (CanonicalKey::of_answer(&id, &name), CanonicalKey::of_answer(&arn, &name));
        }
    }

    fn realm() -> Realm {
        Realm::Aws { account: "123456789012".into(), region: "eu-west-1".into() }
    }

    #[test]
    fn one_key_has_one_form() {
        let by_name = realm().resolve(&RemoteKey::parse("payments/prod/db").unwrap()).unwrap();
        let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:payments/prod/db-AbC12x";
        let by_arn = realm().resolve(&RemoteKey::parse(arn).unwrap()).unwrap();
        assert_eq!(by_name, by_arn, "in its own account a key is asked for by name");
        assert_eq!(CanonicalKey::of_answer(arn, "payments/prod/db").unwrap(), by_name.0);
        assert_eq!(by_name.0.name_within(&realm()), Some("payments/prod/db"));
    }

    #[test]
    fn another_account_is_another_key_and_asked_by_arn() {
        let arn = "arn:aws:secretsmanager:eu-west-1:999999999999:secret:payments/prod/db-AbC12x";
        let (key, ask) = realm().resolve(&RemoteKey::parse(arn).unwrap()).unwrap();
        assert_eq!(key.as_str(), "aws:999999999999:eu-west-1:payments/prod/db");
        assert_eq!(ask, arn);
        assert_eq!(key.name_within(&realm()), None);
    }

    #[test]
    fn another_region_is_refused() {
        let arn = RemoteKey::parse("arn:aws:secretsmanager:us-east-1:123456789012:secret:a-AbC12x").unwrap();
        assert!(matches!(realm().resolve(&arn), Err(InvalidKey::OtherRegion { .. })));
    }

    #[test]
    fn a_look_alike_answer_is_another_key() {
        // Asked for `db`, the manager answers with the secret named `db-AbC12x`.
        let answer = CanonicalKey::of_answer(
            "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-AbC12x-Zz9Yy8",
            "db-AbC12x",
        );
        assert_ne!(answer, Some(realm().resolve(&RemoteKey::parse("db").unwrap()).unwrap().0));
        assert_eq!(
            CanonicalKey::of_answer("arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-AbC12x", "other"),
            None
        );
    }

    #[test]
    fn refuses_what_is_not_one_exact_name() {
        let long = "a".repeat(513);
        for (text, why) in [
            ("", InvalidKey::Empty),
            ("/", InvalidKey::EmptyPart),
            ("a//b", InvalidKey::EmptyPart),
            ("a/b/", InvalidKey::EmptyPart),
            ("//a", InvalidKey::EmptyPart),
            ("a/../b", InvalidKey::DotPart),
            ("./a", InvalidKey::DotPart),
            ("a/*", InvalidKey::Character('*')),
            ("a%2fb", InvalidKey::Character('%')),
            ("a b", InvalidKey::Character(' ')),
            ("раyments", InvalidKey::Character('р')),
            ("a\n", InvalidKey::Character('\n')),
            (long.as_str(), InvalidKey::TooLong),
            ("arn:aws:secretsmanager:eu-west-1:123456789012:secret:db", InvalidKey::PartialArn),
            ("arn:aws:secretsmanager:eu-west-1:123456789012:secret:orders-db", InvalidKey::PartialArn),
            ("arn:aws:secretsmanager:eu-west-1:12345:secret:db-AbC12x", InvalidKey::PartialArn),
            ("arn:aws:s3:eu-west-1:123456789012:secret:db-AbC12x", InvalidKey::PartialArn),
            ("arn:aws:secretsmanager:eu-west-1:123456789012:secret:a/../b-AbC12x", InvalidKey::DotPart),
        ] {
            assert_eq!(RemoteKey::parse(text), Err(why), "{text}");
        }
        for text in ["a", "/a/b", "payments/prod/orders-db", "name-AbCdEf", "a+b=c@d_e.f-g"] {
            assert!(RemoteKey::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn one_file_has_one_key() {
        let realm = Realm::File { path: "/etc/scoped-secrets/".into() };
        let (key, _) = realm.resolve(&RemoteKey::parse("a/b").unwrap()).unwrap();
        assert_eq!(key.as_str(), "file:/etc/scoped-secrets/a/b");
        assert_eq!(key.name_within(&realm), Some("a/b"));
        for text in ["/a/b", "a/b.json"] {
            assert_eq!(realm.resolve(&RemoteKey::parse(text).unwrap()), Err(InvalidKey::NotAFileKey), "{text}");
        }
    }
}
