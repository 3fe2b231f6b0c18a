//! The search: every form of a text, every window of it, within a bounded amount of work.

use super::WINDOW;
use super::forms::{Unescaped, decoded, dedented, digits, runs};
use super::index::{MarkIndex, Table};
use super::mark::{Mark, Marker, Prefixes};
use crate::segmentation::fingerprint::Fingerprint;
use crate::segmentation::seal::SealKeys;
use std::collections::HashSet;
use std::ops::ControlFlow;

/// How often base64 is undone, one inside the other.
const DEPTH: u8 = 2;
/// How often escapes are undone, one after the other: JSON in JSON, and a URL in it.
const ESCAPES: u8 = 3;

/// Steps for each byte of what is searched. A text that is base64 of base64 at every alignment takes 17.
const STEPS_PER_BYTE: usize = 32;
/// Steps for what is short.
const STEPS_AT_LEAST: usize = 1 << 20;
/// What it costs to look a window up, compared with going on by a byte.
const LOOK_UP: usize = 8;
/// What it costs to compare one value's whole length.
const COMPARE: usize = 16;

/// The text was made so that comparing it takes too long; what is in it cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it takes too long to compare")]
pub struct Exhausted;

/// Why it ended before the end.
enum End {
    /// What was found is enough.
    Enough,
    Exhausted,
}

/// What is told of each value found; Break: enough is known.
pub type Found<'f> = &'f mut dyn FnMut(&Fingerprint) -> ControlFlow<()>;

/// One search over several texts. Each value is told once.
pub struct Search<'k> {
    marks: &'k MarkIndex,
    keys: &'k SealKeys,
    seen: HashSet<(u32, Mark)>,
    steps: usize,
    limit: usize,
}

impl<'k> Search<'k> {
    /// A search over so many bytes; `patience` times the work that a request may take.
    pub fn new(marks: &'k MarkIndex, keys: &'k SealKeys, bytes: usize, patience: usize) -> Self {
        let limit = bytes.saturating_mul(STEPS_PER_BYTE).saturating_add(STEPS_AT_LEAST).saturating_mul(patience);
        Self { marks, keys, seen: HashSet::new(), steps: 0, limit }
    }

    /// Tells every value that is in a text, in any form. Whether it went to the end: Break means that `found` had enough.
    ///
    /// # Errors
    ///
    /// The work that this search may do is done.
    pub fn look(&mut self, text: &[u8], found: Found<'_>) -> Result<ControlFlow<()>, Exhausted> {
        if self.marks.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        match self.forms(text, DEPTH, found) {
            ControlFlow::Continue(()) => Ok(ControlFlow::Continue(())),
            ControlFlow::Break(End::Enough) => Ok(ControlFlow::Break(())),
            ControlFlow::Break(End::Exhausted) => Err(Exhausted),
        }
    }

    /// The steps that were taken: a measure of the work that no clock disturbs.
    pub fn steps(&self) -> usize {
        self.steps
    }

    fn spend(&mut self, steps: usize) -> ControlFlow<End> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > self.limit { ControlFlow::Break(End::Exhausted) } else { ControlFlow::Continue(()) }
    }

    /// A text in every form, with base64 undone so many times more.
    fn forms(&mut self, text: &[u8], depth: u8, found: Found<'_>) -> ControlFlow<End> {
        if text.len() < WINDOW {
            return ControlFlow::Continue(());
        }
        self.windows(text, found)?;
        self.base64(text, depth, |_| true, found)?;
        // What is no text has neither lines nor escapes; of wrongly aligned base64 that is nearly all.
        if std::str::from_utf8(text).is_err() {
            return ControlFlow::Continue(());
        }
        if let Some(plain) = dedented(text) {
            self.windows(&plain, found)?;
        }
        let mut escaped = Unescaped::of(text);
        for _ in 0..ESCAPES {
            let Some(undone) = escaped else { break };
            self.windows(&undone.text, found)?;
            // The other runs are those of the text before.
            self.base64(&undone.text, depth, |run| undone.changed_in(run), found)?;
            escaped = Unescaped::of(&undone.text);
        }
        ControlFlow::Continue(())
    }

    /// What is base64 in a text, at each alignment: nobody knows where in a run of digits it begins.
    fn base64(
        &mut self,
        text: &[u8],
        depth: u8,
        of_interest: impl Fn(&std::ops::Range<usize>) -> bool,
        found: Found<'_>,
    ) -> ControlFlow<End> {
        let Some(depth) = depth.checked_sub(1) else { return ControlFlow::Continue(()) };
        self.spend(text.len())?;
        for run in runs(text).filter(of_interest) {
            let digits = digits(&text[run]);
            for start in 0..4 {
                self.forms(&decoded(&digits[start..]), depth, found)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Every window of a text, under each generation of the seal key.
    fn windows(&mut self, text: &[u8], found: Found<'_>) -> ControlFlow<End> {
        let (marks, keys) = (self.marks, self.keys);
        for table in marks.tables() {
            // What was sealed under a key that is gone cannot be found.
            let Some(marker) = keys.marker(table.generation) else { continue };
            self.spend(text.len())?;
            let mut prefixes = None;
            let (head, tail) = text.split_at_checked(WINDOW - 1).unwrap_or((text, &[]));
            let mut hash = head.iter().fold(0, |hash, byte| marker.roll(hash, *byte));
            for (i, byte) in tail.iter().enumerate() {
                hash = marker.roll(hash, *byte);
                if table.may_have(hash) {
                    self.at_window(text, i + WINDOW, hash, (table, marker), &mut prefixes, found)?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// The values whose window may end here.
    fn at_window(
        &mut self,
        text: &[u8],
        end: usize,
        window: u64,
        (table, marker): (&Table, &Marker),
        prefixes: &mut Option<Prefixes>,
        found: Found<'_>,
    ) -> ControlFlow<End> {
        self.spend(LOOK_UP)?;
        for mark in table.with_window(window) {
            self.spend(COMPARE)?;
            let Some((start, end)) = mark.span(end, text.len()) else { continue };
            if self.seen.contains(&(table.generation, *mark)) {
                continue;
            }
            if prefixes.is_none() {
                self.spend(2 * text.len())?;
            }
            let prefixes = prefixes.get_or_insert_with(|| Prefixes::of(text, marker));
            if prefixes.hash(text, start, end, marker) != mark.whole {
                continue;
            }
            self.spend(4 * (end - start))?;
            self.seen.insert((table.generation, *mark));
            let Some(print) = self.keys.fingerprint_under(table.generation, &text[start..end]) else { continue };
            if found(&print).is_break() {
                return ControlFlow::Break(End::Enough);
            }
        }
        ControlFlow::Continue(())
    }
}
