//! The search: every form of a text, every window of it, within a bounded amount of work.

use super::WINDOW;
use super::forms::{Effort, Runs, Unescaped, dedented, has_marks, texts};
use super::index::{MarkIndex, Table};
use super::mark::{Mark, Marker, Prefixes};
use crate::segmentation::fingerprint::Fingerprint;
use crate::segmentation::seal::SealKeys;
use memchr::memchr_iter;
use std::collections::HashSet;
use std::ops::{ControlFlow, Range};

/// How often base64 is undone, one inside the other.
const DEPTH: u8 = 2;
/// How often escapes are undone, one after the other: JSON in JSON, and a URL in it.
const ESCAPES: u8 = 3;

/// Steps, of a fifth to half a nanosecond, for a MiB and each generation of the seal key: 10 to 25 ms, whatever is in it. Most of what
/// is carried takes a fifth to all of it.
const STEPS: usize = 56 << 20;
/// Steps for each byte of what is shorter, up to as many as that.
const STEPS_PER_BYTE: usize = 110;
/// Steps for what is very short.
const STEPS_AT_LEAST: usize = 1_700_000;
/// What each byte costs of which a window ends at it,
const ROLL: usize = 3;
/// is looked at for base64,
const LOOK: usize = 1;
/// is base64, and read at each alignment (and each run of it),
const READ: usize = 3;
const RUN: usize = 150;
/// or may be written in other forms (and each part that is looked at for that).
const FORMS: usize = 2;
const LOOKED_AT: usize = 120;
/// What it costs to try one escape, or look at one word that may be base64,
const TRY: usize = 32;
/// to go over one line by itself,
const LINE: usize = 24;
/// to undo what is in a part that is text,
const PART: usize = 400;
/// to look a window up,
const LOOK_UP: usize = 100;
/// to compare one value,
const COMPARE: usize = 320;
/// each byte of what is hashed for that,
const HASH: usize = 2;
/// and to say that it was found.
const FOUND: usize = 1_000;

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
    effort: Effort,
    /// Room for what is base64 in a text, and for what that stands for.
    spare: Vec<(Runs, Vec<u8>)>,
}

impl<'k> Search<'k> {
    /// A search over so many bytes; `patience` times the work that a request may take.
    pub fn new(marks: &'k MarkIndex, keys: &'k SealKeys, bytes: usize, patience: usize) -> Self {
        let keyed = marks.tables().iter().filter(|table| keys.marker(table.generation).is_some()).count();
        let short = bytes.saturating_mul(STEPS_PER_BYTE).clamp(STEPS_AT_LEAST, STEPS);
        let limit = short.max(bytes.saturating_mul(STEPS >> 20)).saturating_mul(keyed.max(1) * patience);
        Self { marks, keys, seen: HashSet::new(), steps: 0, limit, effort: Effort::default(), spare: Vec::new() }
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

    /// Pays for what the forms counted.
    fn pay(&mut self) -> ControlFlow<End> {
        let times = self.effort.take();
        self.spend(TRY * times)
    }

    /// A text in another form, if it has one.
    fn undo(
        &mut self,
        form: fn(&[u8], &Effort) -> Option<Unescaped>,
        text: &[u8],
    ) -> ControlFlow<End, Option<Unescaped>> {
        let undone = form(text, &self.effort);
        self.pay()?;
        ControlFlow::Continue(undone)
    }

    /// A text in every form, with base64 undone so many times more.
    fn forms(&mut self, text: &[u8], depth: u8, found: Found<'_>) -> ControlFlow<End> {
        if text.len() < WINDOW {
            return ControlFlow::Continue(());
        }
        self.windows(text, found)?;
        self.base64(text, depth, &|_| true, found)?;
        self.written(text, depth, found)
    }

    /// What of a text is text, in its other forms: of wrongly aligned base64 nearly nothing is.
    fn written(&mut self, text: &[u8], depth: u8, found: Found<'_>) -> ControlFlow<End> {
        self.spend(FORMS * text.len() + LOOKED_AT)?;
        let effort = Effort::default();
        for part in texts(text, depth < DEPTH, &effort) {
            self.spend(PART + TRY * effort.take())?;
            self.lines_and_escapes(part, depth, found)?;
        }
        self.spend(TRY * effort.take())
    }

    /// A text without its indentation, without its escapes, and without the quotes inside quotes.
    fn lines_and_escapes(&mut self, text: &[u8], depth: u8, found: Found<'_>) -> ControlFlow<End> {
        self.dedented(text, found)?;
        self.quotes(text, depth, found)?;
        // What a form sends has no escapes of JSON in it: it is looked for once.
        if let Some(sent) = self.undo(Unescaped::form, text)? {
            self.windows(&sent.text, found)?;
        }
        let mut escaped = self.undo(Unescaped::of, text)?;
        for times in 1..=ESCAPES {
            let Some(undone) = escaped else { break };
            self.undone(&undone, depth, found)?;
            // A document in a document: what is quoted deeper is rare, and each look costs a pass.
            if times == 1 {
                self.quotes(&undone.text, depth, found)?;
            }
            escaped = if times < ESCAPES { self.undo(Unescaped::of, &undone.text)? } else { None };
        }
        ControlFlow::Continue(())
    }

    fn dedented(&mut self, text: &[u8], found: Found<'_>) -> ControlFlow<End> {
        let ends = memchr_iter(b'\n', text).count() + memchr_iter(b'\r', text).count();
        self.spend(LINE * ends)?;
        match dedented(text) {
            Some(plain) => self.windows(&plain, found),
            None => ControlFlow::Continue(()),
        }
    }

    /// A text without the quotes inside quotes and without entities, and its escapes then undone as well.
    fn quotes(&mut self, text: &[u8], depth: u8, found: Found<'_>) -> ControlFlow<End> {
        let Some(plain) = self.undo(Unescaped::quoted, text)? else { return ControlFlow::Continue(()) };
        self.undone(&plain, depth, found)?;
        match self.undo(Unescaped::of, &plain.text)? {
            Some(inner) => self.windows(&inner.text, found),
            None => ControlFlow::Continue(()),
        }
    }

    /// A text of which something was undone.
    fn undone(&mut self, undone: &Unescaped, depth: u8, found: Found<'_>) -> ControlFlow<End> {
        self.windows(&undone.text, found)?;
        self.dedented(&undone.text, found)?;
        // The other runs are those of the text before.
        self.base64(&undone.text, depth, &|run| undone.changed_in(run), found)
    }

    /// What is base64 in a text, at each alignment: nobody knows where in a run of digits it begins.
    fn base64(
        &mut self,
        text: &[u8],
        depth: u8,
        of_interest: &dyn Fn(&Range<usize>) -> bool,
        found: Found<'_>,
    ) -> ControlFlow<End> {
        let Some(depth) = depth.checked_sub(1) else { return ControlFlow::Continue(()) };
        self.spend(LOOK * text.len())?;
        let (mut runs, mut decoded) = self.spare.pop().unwrap_or_default();
        runs.take(text, of_interest, &self.effort);
        self.pay()?;
        self.spend(READ * runs.digits() + RUN * runs.len())?;
        let alignments = if runs.len() == 0 { 0 } else { Runs::ALIGNMENTS };
        for without in 0..alignments {
            runs.read(without, &mut decoded);
            self.windows(&decoded, found)?;
            self.base64(&decoded, depth, &|_| true, found)?;
            if has_marks(&decoded) {
                for part in runs.parts(without) {
                    self.written(&decoded[part], depth, found)?;
                }
            }
        }
        self.spare.push((runs, decoded));
        ControlFlow::Continue(())
    }

    /// Every window of a text, under each generation of the seal key.
    fn windows(&mut self, text: &[u8], found: Found<'_>) -> ControlFlow<End> {
        let (marks, keys) = (self.marks, self.keys);
        for table in marks.tables() {
            // What was sealed under a key that is gone cannot be found.
            let Some(marker) = keys.marker(table.generation) else { continue };
            self.spend(ROLL * text.len())?;
            let mut hashes = Hashes { text, marker, alone: 0, prefixes: None };
            table.each_of(text, marker, &mut |window, end| self.at_window(end, window, table, &mut hashes, found))?;
        }
        ControlFlow::Continue(())
    }

    /// The values whose window may end here.
    fn at_window(
        &mut self,
        end: usize,
        window: u64,
        table: &Table,
        hashes: &mut Hashes<'_>,
        found: Found<'_>,
    ) -> ControlFlow<End> {
        self.spend(LOOK_UP)?;
        let text = hashes.text;
        for mark in table.with_window(window) {
            self.spend(COMPARE)?;
            let Some((start, end)) = mark.span(end, text.len()) else { continue };
            if self.seen.contains(&(table.generation, *mark)) {
                continue;
            }
            self.spend(hashes.cost(end - start))?;
            if hashes.hash(start, end) != mark.whole {
                continue;
            }
            self.spend(FOUND + 4 * HASH * (end - start))?;
            self.seen.insert((table.generation, *mark));
            let Some(print) = self.keys.fingerprint_under(table.generation, &text[start..end]) else { continue };
            if found(&print).is_break() {
                return ControlFlow::Break(End::Enough);
            }
        }
        ControlFlow::Continue(())
    }
}

/// The hashes of a text's parts: each by itself while they are few, from then on by prefixes.
struct Hashes<'t> {
    text: &'t [u8],
    marker: &'t Marker,
    /// Bytes of the parts that were hashed by themselves.
    alone: usize,
    prefixes: Option<Prefixes>,
}

impl Hashes<'_> {
    /// What the hash of the next part costs, if it has so many bytes.
    fn cost(&self, length: usize) -> usize {
        match (&self.prefixes, self.is_few(length)) {
            (Some(_), _) => 0,
            (None, true) => HASH * length,
            (None, false) => 2 * HASH * self.text.len(),
        }
    }

    fn is_few(&self, length: usize) -> bool {
        self.alone == 0 || self.alone + length <= self.text.len() / 4
    }

    fn hash(&mut self, start: usize, end: usize) -> u64 {
        if self.prefixes.is_none() && self.is_few(end - start) {
            self.alone += end - start;
            return self.marker.whole(&self.text[start..end]);
        }
        let prefixes = self.prefixes.get_or_insert_with(|| Prefixes::of(self.text, self.marker));
        prefixes.hash(self.text, start, end, self.marker)
    }
}
