//! The marks of everything that is held, by window.

use super::WINDOW;
use super::mark::{Mark, Marker};
use std::collections::BTreeSet;

/// Marks by generation and window. Cloned only where a search still reads while it changes (see `World::marks`).
#[derive(Debug, Clone, Default)]
pub struct MarkIndex {
    tables: Vec<Table>,
}

/// The marks of one generation of the seal key.
#[derive(Debug, Clone)]
pub struct Table {
    /// Which.
    pub(super) generation: u32,
    marks: BTreeSet<Mark>,
    filter: Filter,
}

/// Two bits for each window, in the word that others of its hash name: nearly every position of a text ends here, after
/// one look at memory. Bits of what is gone stay until it is made anew.
#[derive(Debug, Clone)]
struct Filter {
    /// A power of two of words.
    bits: Box<[u64]>,
    set: usize,
}

/// So many bits for each mark, at least.
const BITS_PER_MARK: usize = 32;
/// Words of the smallest filter.
const LEAST: usize = 1 << 6;
/// Words of the largest, for a million marks and more: so many bits of a hash are of the whole window.
const MOST: usize = 1 << 20;

impl MarkIndex {
    /// Adds the mark of a value.
    pub fn insert(&mut self, generation: u32, mark: Mark) {
        let known = self.tables.iter().position(|table| table.generation == generation);
        let at = known.unwrap_or_else(|| {
            self.tables.push(Table { generation, marks: BTreeSet::new(), filter: Filter::of([].into_iter(), 0) });
            self.tables.len() - 1
        });
        let table = &mut self.tables[at];
        if table.marks.insert(mark) {
            table.filter.set(mark.window);
            if table.filter.is_full() {
                table.refilter();
            }
        }
    }

    /// Takes the mark of a value out.
    pub fn remove(&mut self, generation: u32, mark: &Mark) {
        let Some(at) = self.tables.iter().position(|table| table.generation == generation) else { return };
        let table = &mut self.tables[at];
        table.marks.remove(mark);
        if table.marks.is_empty() {
            self.tables.swap_remove(at);
        } else if table.filter.set > 64 + 2 * table.marks.len() {
            table.refilter();
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.tables.iter().map(|table| table.marks.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// By generation; none is empty.
    pub(super) fn tables(&self) -> &[Table] {
        &self.tables
    }
}

/// How far a text has been rolled over.
pub(super) struct Rolling<'m> {
    marker: &'m Marker,
    hash: u64,
    at: usize,
}

impl<'m> Rolling<'m> {
    /// Up to where the first window ends, but for its last byte.
    pub(super) fn over(text: &[u8], marker: &'m Marker) -> Self {
        let at = text.len().min(WINDOW - 1);
        Self { marker, hash: text[..at].iter().fold(0, |hash, byte| marker.roll(hash, *byte)), at }
    }
}

impl Table {
    /// Goes on with a text until a window ends that may be of a value: its hash, and where it ends.
    pub(super) fn next_of(&self, text: &[u8], rolling: &mut Rolling<'_>) -> Option<(u64, usize)> {
        let Rolling { marker, mut hash, mut at } = *rolling;
        // Eight positions at a time while there is nothing in them: this loop is most of what a search costs.
        while let Some(chunk) = text.get(at..)?.first_chunk::<8>() {
            let (mut ahead, mut any) = (hash, 0);
            for byte in chunk {
                ahead = marker.roll(ahead, *byte);
                any |= self.filter.bit(ahead);
            }
            if any & 1 == 1 {
                break;
            }
            (hash, at) = (ahead, at + 8);
        }
        for byte in &text[at..] {
            (hash, at) = (marker.roll(hash, *byte), at + 1);
            if self.filter.has(hash) {
                *rolling = Rolling { marker, hash, at };
                return Some((hash, at));
            }
        }
        rolling.at = text.len();
        None
    }

    /// Whether a window with this hash may be of a value.
    #[cfg(test)]
    fn may_have(&self, window: u64) -> bool {
        self.filter.has(window)
    }

    /// The marks whose window has this hash.
    pub(super) fn with_window(&self, window: u64) -> impl Iterator<Item = &Mark> {
        self.marks.range(Mark::range(window))
    }

    fn refilter(&mut self) {
        self.filter = Filter::of(self.marks.iter().map(|mark| mark.window), self.marks.len());
    }
}

impl Filter {
    fn of(windows: impl Iterator<Item = u64>, count: usize) -> Self {
        let words = (2 * BITS_PER_MARK * count / 64).next_power_of_two().clamp(LEAST, MOST);
        let mut filter = Self { bits: vec![0; words].into(), set: 0 };
        windows.for_each(|window| filter.set(window));
        filter
    }

    fn set(&mut self, window: u64) {
        let word = self.word(window);
        self.bits[word] |= 1 << Self::first(window) | 1 << Self::second(window);
        self.set += 1;
    }

    fn has(&self, window: u64) -> bool {
        self.bit(window) & 1 == 1
    }

    /// The last bit says whether both are set; the others say nothing.
    fn bit(&self, window: u64) -> u64 {
        let word = self.bits[self.word(window)];
        word >> Self::first(window) & word >> Self::second(window)
    }

    /// By bits that are of the whole window: the last of a hash are only of its last bytes.
    fn word(&self, window: u64) -> usize {
        (window >> 44) as usize & (self.bits.len() - 1)
    }

    fn first(window: u64) -> u64 {
        window >> 38 & 63
    }

    fn second(window: u64) -> u64 {
        window >> 32 & 63
    }

    fn is_full(&self) -> bool {
        self.bits.len() < MOST && self.set * BITS_PER_MARK > self.bits.len() * 64
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::marker;
    use super::*;

    #[test]
    fn what_was_put_in_is_there_until_it_is_taken_out() {
        let (mut index, marker) = (MarkIndex::default(), marker(1));
        let mark = |i: u32| marker.mark(format!("value number {i:08} of many").as_bytes()).unwrap();
        let has = |index: &MarkIndex, mark: &Mark| {
            index.tables().iter().any(|t| t.may_have(mark.window) && t.with_window(mark.window).any(|m| m == mark))
        };
        (0..5_000).for_each(|i| index.insert(7, mark(i)));
        index.insert(7, mark(0));
        assert_eq!(index.len(), 5_000);
        assert!((0..5_000).all(|i| has(&index, &mark(i))));
        (0..4_990).for_each(|i| index.remove(7, &mark(i)));
        assert!((4_990..5_000).all(|i| has(&index, &mark(i))) && !(0..4_990).any(|i| has(&index, &mark(i))));
        (0..5_000).for_each(|i| index.remove(7, &mark(i)));
        index.remove(8, &mark(0));
        assert!(index.is_empty());
    }
}
