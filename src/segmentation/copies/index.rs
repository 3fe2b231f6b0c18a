//! The marks of everything that is held, by window.

use super::mark::Mark;
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

/// A bit for each window, by the first bits of its hash: nearly every position of a text ends here. Bits of what is gone
/// stay until it is made anew.
#[derive(Debug, Clone)]
struct Filter {
    bits: Box<[u64]>,
    shift: u32,
    set: usize,
}

/// So many bits for each mark, at least.
const BITS_PER_MARK: usize = 32;
/// Bits of the smallest filter, as a power of two.
const LEAST: u32 = 12;

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

impl Table {
    /// Whether a window with this hash may be of a value.
    pub(super) fn may_have(&self, window: u64) -> bool {
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
        let size = (2 * BITS_PER_MARK * count).next_power_of_two().ilog2().max(LEAST);
        let mut filter = Self { bits: vec![0; 1 << (size - 6)].into(), shift: 64 - size, set: 0 };
        windows.for_each(|window| filter.set(window));
        filter
    }

    fn set(&mut self, window: u64) {
        let bit = window >> self.shift;
        self.bits[(bit >> 6) as usize] |= 1 << (bit & 63);
        self.set += 1;
    }

    fn has(&self, window: u64) -> bool {
        let bit = window >> self.shift;
        self.bits[(bit >> 6) as usize] >> (bit & 63) & 1 == 1
    }

    fn is_full(&self) -> bool {
        self.set * BITS_PER_MARK > self.bits.len() * 64
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
