//! Makes the new value of a key: random characters, put where the old ones were.
//!
//! Pure: randomness is an argument. Every text that the recipe allows is as likely as every other: characters are drawn without
//! bias, and a text that lacks one of the classes is thrown away whole instead of being mended.

use thiserror::Error;
use zeroize::Zeroizing;

use crate::api::Reason;
use crate::api::rotation::{CharacterClass as Class, MAX_LENGTH, MIN_LENGTH};
use crate::projection::json::{self, JsonFault};
use crate::provider::{MAX_VALUE_BYTES, RemoteValue, SecretBytes};

/// The least that there is to guess in a value, in bits: what is compared between segments has as much.
pub const MIN_BITS: f64 = 64.0;

/// Random texts that lack a class, one after the other, before the source of randomness is given up as broken: one in twenty
/// passes at the very least.
const MAX_TRIES: usize = 4_096;
/// Bytes that fall into no character, one after the other, before it is given up: less than half of them do.
const MAX_REJECTIONS: usize = 256;

/// Why no value is made. Names only what the user wrote himself.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs)]
pub enum GenerateError {
    #[error("generate.length is {length}: write {MIN_LENGTH} to {MAX_LENGTH}")]
    Length { length: usize },
    #[error("generate.include is empty: list some of Lower, Upper, Digits, Symbols")]
    NoClass,
    #[error("generate.exclude leaves no character of {class}: exclude fewer, or leave {class} out of generate.include")]
    ClassEmptied { class: Class },
    #[error(
        "generate.length is too short for a value that is hard to guess: write {enough} or more, or allow more characters"
    )]
    TooEasy { enough: usize },
    #[error(
        "generate.include leaves too few characters for a value that is hard to guess: list more there, or less in generate.exclude"
    )]
    TooFewCharacters,
    #[error("the operator's source of randomness does not work")]
    NoRandomness,
    #[error("the remote value is binary, and only text is generated: store a text there first, or rotate it otherwise")]
    Binary,
    #[error(
        "the remote value is a JSON object or list, which would be lost as a whole: name the property to replace in \
         generate.property"
    )]
    PropertyNeeded,
    #[error(
        "generate.property is {property:?}, but the remote value is not a JSON object: remove generate.property to replace \
         it whole, or store JSON"
    )]
    NotJson { property: String },
    #[error("the remote value has two properties of one name in the same object: store it with one of them")]
    Ambiguous,
    #[error("the remote value has no property {property:?}: correct generate.property, or store it")]
    PropertyMissing { property: String },
    #[error("the property {property:?} is not a text, and only a text is replaced: point generate.property at one")]
    PropertyNotText { property: String },
    #[error(
        "the remote value would be larger than {MAX_VALUE_BYTES} bytes: write a shorter generate.length, or split it"
    )]
    TooLarge,
}

impl GenerateError {
    /// The reason that conditions, events and metrics give.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Length { .. }
            | Self::NoClass
            | Self::ClassEmptied { .. }
            | Self::TooEasy { .. }
            | Self::TooFewCharacters => Reason::SpecInvalid,
            Self::NoRandomness => Reason::WriteFailed,
            Self::NotJson { .. } | Self::Ambiguous => Reason::NotJson,
            Self::PropertyMissing { .. } => Reason::PropertyMissing,
            Self::Binary | Self::PropertyNeeded | Self::PropertyNotText { .. } => Reason::PropertyInvalid,
            Self::TooLarge => Reason::RemoteTooLarge,
        }
    }
}

/// How a value is made. One that exists can be made, and is hard enough to guess.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    length: usize,
    classes: Vec<Class>,
    /// What may occur.
    characters: Vec<u8>,
}

/// Fills bytes with randomness that nobody can foresee; false if it cannot.
pub type Random<'a> = &'a dyn Fn(&mut [u8]) -> bool;

/// A text that was made: printable ASCII. Zeroed when dropped.
pub struct Made(Zeroizing<String>);

impl Recipe {
    /// A value of so many characters of these classes, at least one of each, and none of those that are excluded.
    ///
    /// # Errors
    /// Where no such value can be made, or one that is too easy to guess; all are [`Reason::SpecInvalid`].
    pub fn new(length: usize, include: &[Class], exclude: &str) -> Result<Self, GenerateError> {
        if !(MIN_LENGTH..=MAX_LENGTH).contains(&length) {
            return Err(GenerateError::Length { length });
        }
        let mut classes = include.to_vec();
        classes.sort_unstable();
        classes.dedup();
        if classes.is_empty() {
            return Err(GenerateError::NoClass);
        }
        let of = |class: Class| {
            let allowed = move |c: &u8| class.has(*c) && !exclude.contains(char::from(*c));
            (0..=u8::MAX).filter(allowed).collect::<Vec<u8>>()
        };
        let alphabets: Vec<Vec<u8>> = classes.iter().map(|class| of(*class)).collect();
        if let Some(at) = alphabets.iter().position(Vec::is_empty) {
            return Err(GenerateError::ClassEmptied { class: classes[at] });
        }
        let sizes: Vec<usize> = alphabets.iter().map(Vec::len).collect();
        if bits(length, &sizes) < MIN_BITS {
            let enough = (length..=MAX_LENGTH).find(|length| bits(*length, &sizes) >= MIN_BITS);
            return Err(enough.map_or(GenerateError::TooFewCharacters, |enough| GenerateError::TooEasy { enough }));
        }
        Ok(Self { length, classes, characters: alphabets.concat() })
    }

    /// Makes a text.
    ///
    /// # Errors
    /// [`GenerateError::NoRandomness`].
    pub fn make(&self, random: Random<'_>) -> Result<Made, GenerateError> {
        let mut dice = Dice::new(random);
        let mut text = Zeroizing::new(String::with_capacity(self.length));
        for _ in 0..MAX_TRIES {
            for _ in 0..self.length {
                text.push(char::from(dice.draw(&self.characters)?));
            }
            if self.classes.iter().all(|class| text.bytes().any(|character| class.has(character))) {
                return Ok(Made(text));
            }
            // Keeps its room, so that nothing is copied elsewhere.
            text.clear();
        }
        Err(GenerateError::NoRandomness)
    }

    /// Makes a text, and the value that the key is to have with it: `value` with that text in place of one property, whose
    /// name is exact or, with a leading `/`, a JSON pointer; or in place of the whole, if it is a plain text.
    ///
    /// # Errors
    /// As for [`make`](Self::make) and [`Made::put_into`].
    pub fn renew(
        &self,
        value: &RemoteValue,
        property: Option<&str>,
        random: Random<'_>,
    ) -> Result<RemoteValue, GenerateError> {
        self.make(random)?.put_into(value, property)
    }
}

/// Whether a value is another one with a text of our making in its place: nothing else differs, to the byte.
pub fn renews(value: &RemoteValue, before: &RemoteValue, property: Option<&str>) -> bool {
    let (Some(value), Some(before)) = (value.expose_text(), before.expose_text()) else { return false };
    let Some(property) = property else { return !is_structured(before) };
    let around = |text| json::find(text, property).ok().map(|found| json::around(text, found));
    around(before).is_some_and(|before| around(value) == Some(before))
}

/// Whether more than one text is in a value, so that none is clearly meant.
fn is_structured(text: &str) -> bool {
    text.trim_start().starts_with(['{', '[']) && json::is_json(text)
}

impl Made {
    /// The text itself. Every caller of this is a place where a value could leak.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The value with this text in its place: everything else stays as it is, to the byte.
    ///
    /// # Errors
    /// If there is no text in that place, or none that is clearly meant.
    pub fn put_into(&self, value: &RemoteValue, property: Option<&str>) -> Result<RemoteValue, GenerateError> {
        let Some(text) = value.expose_text() else { return Err(GenerateError::Binary) };
        let Some(property) = property else {
            // What would be lost with the rest of the value cannot be told.
            return if is_structured(text) { Err(GenerateError::PropertyNeeded) } else { sized(&["", &self.0, ""]) };
        };
        let named = || property.to_owned();
        let found = json::find(text, property).map_err(|fault| match fault {
            JsonFault::NotJson | JsonFault::NotObject => GenerateError::NotJson { property: named() },
            JsonFault::Ambiguous => GenerateError::Ambiguous,
            JsonFault::Missing => GenerateError::PropertyMissing { property: named() },
            JsonFault::NotScalar => GenerateError::PropertyNotText { property: named() },
        })?;
        if !found.get().starts_with('"') {
            return Err(GenerateError::PropertyNotText { property: named() });
        }
        let (before, after) = json::around(text, found);
        sized(&[before, &self.quoted(), after])
    }

    /// As JSON writes it: of printable ASCII two characters are escaped.
    fn quoted(&self) -> Zeroizing<String> {
        let mut quoted = Zeroizing::new(String::with_capacity(2 * self.0.len() + 2));
        quoted.push('"');
        for character in self.0.chars() {
            if matches!(character, '"' | '\\') {
                quoted.push('\\');
            }
            quoted.push(character);
        }
        quoted.push('"');
        quoted
    }
}

/// The parts as one value, in memory that is taken once.
fn sized(parts: &[&str; 3]) -> Result<RemoteValue, GenerateError> {
    let size = parts.iter().map(|part| part.len()).sum();
    if size > MAX_VALUE_BYTES {
        return Err(GenerateError::TooLarge);
    }
    let mut bytes = Vec::with_capacity(size);
    for part in parts {
        bytes.extend_from_slice(part.as_bytes());
    }
    Ok(RemoteValue::Text(SecretBytes::new(bytes)))
}

/// What there is to guess in a text of `length` characters of alphabets of these sizes, at least one of each, in bits. Exact,
/// but for rounding: the binary logarithm of how many such texts there are, by inclusion and exclusion.
fn bits(length: usize, sizes: &[usize]) -> f64 {
    let all = sizes.iter().sum::<usize>() as f64;
    let mut share = 0.0;
    for without in 0..1_usize << sizes.len() {
        let lacking: usize = (0..sizes.len()).filter(|at| without >> at & 1 == 1).map(|at| sizes[at]).sum();
        let texts = ((all - lacking as f64) / all).powf(length as f64);
        share += if without.count_ones() % 2 == 0 { texts } else { -texts };
    }
    length as f64 * all.log2() + share.max(f64::MIN_POSITIVE).log2()
}

/// Draws characters without bias, from bytes that are asked for a few at a time.
struct Dice<'a> {
    random: Random<'a>,
    bytes: Zeroizing<[u8; 64]>,
    used: usize,
}

impl<'a> Dice<'a> {
    fn new(random: Random<'a>) -> Self {
        Self { random, bytes: Zeroizing::new([0; 64]), used: 64 }
    }

    /// One of the characters, of which there are less than 128, each as likely as the others: bytes beyond the last multiple
    /// of their number are thrown away.
    fn draw(&mut self, characters: &[u8]) -> Result<u8, GenerateError> {
        let fair = 256 - 256 % characters.len();
        for _ in 0..MAX_REJECTIONS {
            let byte = usize::from(self.byte()?);
            if byte < fair {
                return Ok(characters[byte % characters.len()]);
            }
        }
        Err(GenerateError::NoRandomness)
    }

    fn byte(&mut self) -> Result<u8, GenerateError> {
        if self.used == self.bytes.len() {
            if !(self.random)(&mut *self.bytes) {
                return Err(GenerateError::NoRandomness);
            }
            self.used = 0;
        }
        let byte = std::mem::take(&mut self.bytes[self.used]);
        self.used += 1;
        Ok(byte)
    }
}

#[cfg(test)]
#[path = "generate_tests.rs"]
mod tests;
