//! What is kept of a value, to find it again: keyed hashes, its length, and where in it the window is.

use super::WINDOW;
use crate::segmentation::fingerprint::Fingerprint;
use std::fmt;

/// What finds one value. It tells nothing without the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// Rolling hash of its window.
    pub(super) window: u64,
    /// Polynomial hash of the whole value.
    pub(super) whole: u64,
    /// Where the window begins.
    pub(super) at: u32,
    /// Bytes of the value.
    pub(super) length: u32,
}

/// The marks of what one Secret holds, one for each of its fingerprints; none in a seal from before there were marks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Marks {
    /// Which generation of the seal key made them.
    pub generation: u32,
    /// In the order of the fingerprints.
    pub each: Box<[Mark]>,
    /// How many of `others` are of values that are easy to guess.
    weak: u32,
    /// Fingerprints without a mark.
    others: Box<[Fingerprint]>,
}

/// Bytes of a mark in a seal.
const SEALED: usize = 24;
/// Random bytes of which a [`Marker`] is made.
pub const MARKER_BYTES: usize = 256 * 8 + 8;
/// The prime of the polynomial hash: 2^61 - 1.
const PRIME: u64 = (1 << 61) - 1;
/// Bits that a length can have.
const POWERS: usize = 32;

/// Makes marks, and finds what they are of: one for each generation of the seal key.
pub struct Marker {
    /// A random word for each byte. `(hash << 4) + word` has forgotten a byte after sixteen more: a window without an end
    /// to take off.
    gear: [u64; 256],
    /// base^(2^k).
    powers: [u64; POWERS],
    /// base^3.
    cube: u64,
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mark(..)")
    }
}

impl Mark {
    /// The least and the greatest mark with this window.
    pub(super) fn range(window: u64) -> std::ops::RangeInclusive<Self> {
        Self { window, whole: 0, at: 0, length: 0 }..=Self { window, whole: u64::MAX, at: u32::MAX, length: u32::MAX }
    }

    /// Where the value would begin and end if its window ended before `end`, in a text of `length` bytes.
    pub(super) fn span(&self, end: usize, length: usize) -> Option<(usize, usize)> {
        let start = (end - WINDOW).checked_sub(self.at as usize)?;
        let end = start.checked_add(self.length as usize)?;
        (end <= length).then_some((start, end))
    }

    fn to_sealed(self) -> [u8; SEALED] {
        let mut bytes = [0; SEALED];
        bytes[..8].copy_from_slice(&self.window.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.whole.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.at.to_be_bytes());
        bytes[20..].copy_from_slice(&self.length.to_be_bytes());
        bytes
    }

    fn from_sealed(bytes: &[u8; SEALED]) -> Self {
        let word = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));
        let half = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));
        Self { window: word(0), whole: word(8), at: half(16), length: half(20) }
    }
}

impl Marks {
    /// Of one generation.
    pub fn new(generation: u32, each: Box<[Mark]>) -> Self {
        Self { generation, each, ..Self::default() }
    }

    /// As they are sealed.
    pub fn to_sealed(&self) -> Vec<u8> {
        self.each.iter().flat_map(|mark| mark.to_sealed()).collect()
    }

    /// As they were sealed, under this generation. A seal without as many as it has fingerprints has none.
    pub fn from_sealed(generation: u32, bytes: &[u8], fingerprints: usize) -> Self {
        let chunks = bytes.as_chunks::<SEALED>().0;
        let each =
            if chunks.len() == fingerprints { chunks.iter().map(Mark::from_sealed).collect() } else { [].into() };
        Self::new(generation, each)
    }

    /// With fingerprints of values of its own that are easy to guess, and of values of others inside.
    pub fn beside(self, weak: &[Fingerprint], within: &[Fingerprint]) -> Self {
        Self { weak: u32::try_from(weak.len()).unwrap_or(0), others: [weak, within].concat().into(), ..self }
    }

    /// With those as they were sealed.
    pub fn beside_sealed(self, weak: &[u8], within: &[u8]) -> Self {
        self.beside(&fingerprints(weak), &fingerprints(within))
    }

    /// Fingerprints of values that are easy to guess: only compared whole, and only for the platform's report.
    pub fn weak(&self) -> &[Fingerprint] {
        &self.others[..self.weak as usize]
    }

    /// Fingerprints of values of other Secrets that were inside what this one holds, and might be, when it was written.
    pub fn within(&self) -> &[Fingerprint] {
        &self.others[self.weak as usize..]
    }
}

/// Fingerprints as they are sealed.
pub fn sealed_fingerprints(prints: &[Fingerprint]) -> Vec<u8> {
    prints.iter().flat_map(|print| print.0).collect()
}

fn fingerprints(sealed: &[u8]) -> Vec<Fingerprint> {
    sealed.as_chunks::<16>().0.iter().copied().map(Fingerprint).collect()
}

impl Marker {
    /// From bytes that only the holder of the seal key can know.
    pub fn new(secret: &[u8; MARKER_BYTES]) -> Self {
        let word = |n: usize| u64::from_be_bytes(std::array::from_fn(|i| secret[8 * n + i]));
        let base = (word(256) % (PRIME - 2)) + 2;
        let mut powers = [base; POWERS];
        for k in 1..POWERS {
            powers[k] = multiply(powers[k - 1], powers[k - 1]);
        }
        Self { gear: std::array::from_fn(word), cube: multiply(powers[0], powers[1]), powers }
    }

    /// The mark of a value; None if it is shorter than a window. The window is the one with the most distinct bytes, so that
    /// it is not the beginning that many values share; among those, one that only the key tells.
    pub fn mark(&self, value: &[u8]) -> Option<Mark> {
        if value.len() < WINDOW {
            return None;
        }
        let (mut counts, mut distinct, mut hash) = ([0u8; 256], 0usize, 0u64);
        let mut best: Option<(usize, u64, usize)> = None;
        for (i, byte) in value.iter().enumerate() {
            hash = self.roll(hash, *byte);
            let count = &mut counts[usize::from(*byte)];
            distinct += usize::from(*count == 0);
            *count += 1;
            if i >= WINDOW {
                let count = &mut counts[usize::from(value[i - WINDOW])];
                *count -= 1;
                distinct -= usize::from(*count == 0);
            }
            if i + 1 >= WINDOW && best.is_none_or(|(most, least, _)| (distinct, least) > (most, hash)) {
                best = Some((distinct, hash, i + 1 - WINDOW));
            }
        }
        let (_, window, at) = best?;
        let whole = self.whole(value);
        Some(Mark { window, whole, at: u32::try_from(at).ok()?, length: u32::try_from(value.len()).ok()? })
    }

    /// The rolling hash, one byte on. It is of the last [`WINDOW`] bytes.
    pub(super) fn roll(&self, hash: u64, byte: u8) -> u64 {
        (hash << 4).wrapping_add(self.gear[usize::from(byte)])
    }

    /// The polynomial hash, one byte on.
    fn extend(&self, hash: u64, byte: u8) -> u64 {
        reduce(multiply(hash, self.powers[0]) + u64::from(byte) + 1)
    }

    /// Likewise four bytes on, at the cost of one: but for the first, the products do not wait for each other.
    fn extend_by_four(&self, hash: u64, [a, b, c, d]: [u8; 4]) -> u64 {
        let times = |byte: u8, power: u64| (u128::from(byte) + 1) * u128::from(power);
        let new = times(a, self.cube) + times(b, self.powers[1]) + times(c, self.powers[0]) + u128::from(d) + 1;
        fold(u128::from(hash) * u128::from(self.powers[2]) + new)
    }

    /// The polynomial hash of a text.
    pub(super) fn whole(&self, text: &[u8]) -> u64 {
        let (fours, rest) = text.as_chunks::<4>();
        let hash = fours.iter().fold(0, |hash, four| self.extend_by_four(hash, *four));
        rest.iter().fold(hash, |hash, byte| self.extend(hash, *byte))
    }

    /// base^exponent.
    fn power(&self, exponent: usize) -> u64 {
        (0..POWERS).filter(|k| exponent >> k & 1 == 1).fold(1, |power, k| multiply(power, self.powers[k]))
    }
}

/// The polynomial hashes of a text's prefixes, of every [`Prefixes::STEP`]th: any part of the text is hashed in constant time.
pub(super) struct Prefixes(Vec<u64>);

impl Prefixes {
    const STEP: usize = 4;

    pub(super) fn of(text: &[u8], marker: &Marker) -> Self {
        let mut hashes = Vec::with_capacity(text.len() / Self::STEP + 1);
        let mut hash = 0;
        hashes.push(hash);
        for chunk in text.as_chunks::<{ Self::STEP }>().0 {
            hash = marker.extend_by_four(hash, *chunk);
            hashes.push(hash);
        }
        Self(hashes)
    }

    /// The hash of `text[start..end]`.
    pub(super) fn hash(&self, text: &[u8], start: usize, end: usize, marker: &Marker) -> u64 {
        let prefix = |end: usize| {
            let known = end - end % Self::STEP;
            text[known..end].iter().fold(self.0[known / Self::STEP], |hash, byte| marker.extend(hash, *byte))
        };
        reduce(prefix(end) + PRIME - multiply(prefix(start), marker.power(end - start)))
    }
}

/// Below the prime again, of less than four times as much.
fn reduce(value: u64) -> u64 {
    let folded = (value & PRIME) + (value >> 61);
    if folded >= PRIME { folded - PRIME } else { folded }
}

fn multiply(a: u64, b: u64) -> u64 {
    fold(u128::from(a) * u128::from(b))
}

/// Below the prime again, of less than 2^123.
fn fold(product: u128) -> u64 {
    reduce((product as u64 & PRIME) + (product >> 61) as u64)
}

#[cfg(test)]
mod tests {
    use super::super::tests::marker;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_window_is_where_a_value_is_most_random() {
        let key =
            "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIB\n-----END PRIVATE KEY-----\n";
        let mark = marker(1).mark(key.as_bytes()).unwrap();
        let at = mark.at as usize;
        assert!(at > key.find('\n').unwrap() && at + WINDOW < key.rfind("\n-----END").unwrap(), "{at}");
        assert!(marker(1).mark(b"fifteen bytes..").is_none());
        assert_ne!(marker(1).mark(key.as_bytes()), marker(2).mark(key.as_bytes()), "another key, another mark");
    }

    #[test]
    fn a_mark_survives_its_seal() {
        let each = [marker(1).mark(b"a value of enough bytes").unwrap(), marker(1).mark(&[7; 300]).unwrap()];
        let (weak, within) = ([Fingerprint([7; 16])], [Fingerprint([8; 16]), Fingerprint([9; 16])]);
        let marks = Marks::new(9, each.into()).beside(&weak, &within);
        assert_eq!((marks.weak(), marks.within()), (&weak[..], &within[..]));
        let opened = Marks::from_sealed(9, &marks.to_sealed(), 2);
        assert_eq!(opened.beside_sealed(&sealed_fingerprints(&weak), &sealed_fingerprints(&within)), marks);
        assert_eq!(Marks::from_sealed(9, &[], 2), Marks { generation: 9, ..Marks::default() });
        assert_eq!(Marks::from_sealed(9, &marks.to_sealed()[1..], 2).each.len(), 0);
    }

    proptest! {
        #[test]
        fn any_part_is_hashed_as_alone(text in prop::collection::vec(any::<u8>(), 16..200), cut in any::<(u16, u16)>()) {
            let marker = marker(3);
            let start = usize::from(cut.0) % (text.len() - 15);
            let end = start + 16 + usize::from(cut.1) % (text.len() - start - 15);
            let mark = marker.mark(&text[start..end]).unwrap();
            prop_assert_eq!(Prefixes::of(&text, &marker).hash(&text, start, end, &marker), mark.whole);
            let window = start + mark.at as usize;
            let rolled = text[..window + WINDOW].iter().fold(0, |hash, byte| marker.roll(hash, *byte));
            prop_assert_eq!(rolled, mark.window);
            prop_assert_eq!(mark.span(window + WINDOW, text.len()), Some((start, end)));
        }
    }
}
