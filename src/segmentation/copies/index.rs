//! The marks of everything that is held, by window.

use super::WINDOW;
use super::mark::{Mark, Marker};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

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

/// Two bits for each window, each in a byte that others of its hash name: nearly every position of a text ends here, after
/// one look at memory. Bits of what is gone stay until it is made anew.
#[derive(Debug, Clone)]
struct Filter {
    /// A power of two of bytes.
    bits: Box<[u8]>,
    set: usize,
}

/// So many bytes for each mark, at least.
const BYTES_PER_MARK: usize = 16;
/// Bytes of the smallest filter.
const LEAST: usize = 1 << 9;
/// Bytes of the largest, for a million marks and more.
const MOST: usize = 1 << 23;

/// A bit for each three of a hash. To look it up costs a third of shifting it there.
const BIT: [u8; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

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

/// Bytes of each half of a text that are looked at before anything is done about one of them.
const BLOCK: usize = 8;

impl Table {
    /// Tells every window of a text that may be of a value: its hash, and where it ends. In no order: the halves of the text are
    /// rolled over side by side, since each step waits for the one before it. This loop is most of what a search costs.
    pub(super) fn each_of<B>(
        &self,
        text: &[u8],
        marker: &Marker,
        found: &mut dyn FnMut(u64, usize) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let Some(windows) = text.len().checked_sub(WINDOW - 1) else { return ControlFlow::Continue(()) };
        let half = windows / (2 * BLOCK) * BLOCK;
        let starts = [WINDOW - 1, WINDOW - 1 + half];
        let [mut one, mut two] =
            starts.map(|start| text[start + 1 - WINDOW..start].iter().fold(0, |hash, byte| marker.roll(hash, *byte)));
        let (first, second) = (&text[starts[0]..starts[1]], &text[starts[1]..]);
        for (i, (a, b)) in first.as_chunks::<BLOCK>().0.iter().zip(second.as_chunks::<BLOCK>().0).enumerate() {
            let (before, mut any) = ([one, two], 0);
            for (a, b) in a.iter().zip(b) {
                (one, two) = (marker.roll(one, *a), marker.roll(two, *b));
                any |= self.filter.first(one) | self.filter.first(two);
            }
            if any != 0 {
                self.in_part(a, before[0], starts[0] + i * BLOCK, marker, found)?;
                self.in_part(b, before[1], starts[1] + i * BLOCK, marker, found)?;
            }
        }
        self.in_part(&second[half..], two, starts[1] + half, marker, found)
    }

    /// Likewise those that end in a part, which begins at `start`, after what has this hash.
    fn in_part<B>(
        &self,
        part: &[u8],
        mut hash: u64,
        start: usize,
        marker: &Marker,
        found: &mut dyn FnMut(u64, usize) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        for (i, byte) in part.iter().enumerate() {
            hash = marker.roll(hash, *byte);
            if self.filter.has(hash) {
                found(hash, start + i + 1)?;
            }
        }
        ControlFlow::Continue(())
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
        let bytes = (2 * BYTES_PER_MARK * count).next_power_of_two().clamp(LEAST, MOST);
        let mut filter = Self { bits: vec![0; bytes].into(), set: 0 };
        windows.for_each(|window| filter.set(window));
        filter
    }

    fn set(&mut self, window: u64) {
        for (byte, bit) in [self.first_place(window), self.second_place(window)] {
            self.bits[byte] |= bit;
        }
        self.set += 1;
    }

    fn has(&self, window: u64) -> bool {
        let (byte, bit) = self.second_place(window);
        self.first(window) != 0 && self.bits[byte] & bit != 0
    }

    /// The first bit of a window, where it is set.
    fn first(&self, window: u64) -> u8 {
        let (byte, bit) = self.first_place(window);
        self.bits[byte] & bit
    }

    /// The byte by bits that are of the whole window: the last of a hash are only of its last bytes.
    fn first_place(&self, window: u64) -> (usize, u8) {
        ((window >> 41) as usize & (self.bits.len() - 1), BIT[(window & 7) as usize])
    }

    fn second_place(&self, window: u64) -> (usize, u8) {
        ((window >> 21) as usize & (self.bits.len() - 1), BIT[(window >> 3 & 7) as usize])
    }

    fn is_full(&self) -> bool {
        self.bits.len() < MOST && self.set * BYTES_PER_MARK > self.bits.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::marker;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_window_of_a_value_is_told_where_it_ends(text in prop::collection::vec(any::<u8>(), 0..300), chosen in prop::collection::vec(any::<u16>(), 0..9)) {
            let (mut index, marker) = (MarkIndex::default(), marker(1));
            let windows: Vec<u64> = text.windows(WINDOW).map(|window| marker.mark(window).unwrap().window).collect();
            for chosen in chosen.iter().map(|at| usize::from(*at)).filter(|at| at + WINDOW <= text.len()) {
                index.insert(7, marker.mark(&text[chosen..chosen + WINDOW]).unwrap());
            }
            let table = index.tables().first();
            let mut told = Vec::new();
            let _ = table.map(|table| table.each_of(&text, &marker, &mut |window, end| {
                told.push((end, window));
                ControlFlow::<()>::Continue(())
            }));
            told.sort_unstable();
            let ends = windows.iter().enumerate().map(|(at, window)| (at + WINDOW, *window));
            let expected: Vec<_> = ends.filter(|(_, window)| table.is_some_and(|table| table.may_have(*window))).collect();
            prop_assert_eq!(told, expected);
        }
    }

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
