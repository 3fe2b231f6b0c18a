//! Checks a log: reads its lines one after the other, keeps a little for each process, and says what is wrong. Pure.

use super::keys::RecordKeys;
use super::line::{Read, Seen, see};
use aws_lc_rs::hmac;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

/// Gaps of one process that are kept in mind, in case their lines come later.
const GAPS: usize = 4096;
/// Lines of one process that were altered, kept in mind so that their numbers are not told to be missing besides.
const ALTERED: usize = 4096;
/// What a mark may be late, beside one interval.
const LATE: SignedDuration = SignedDuration::from_secs(10);

/// Something that is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A line of the record that cannot be read: cut, split, or wrapped.
    Damaged {
        /// Which line of the log.
        line: u64,
    },
    /// A line that nobody with the key wrote so.
    Altered {
        /// Which line of the log.
        line: u64,
        /// Whose it claims to be.
        process: String,
        /// Its number, as it claims.
        number: u64,
    },
    /// A line for the second time.
    Repeated {
        /// Which line of the log.
        line: u64,
        /// Whose.
        process: String,
        /// Its number.
        number: u64,
    },
    /// A line after some that were written later.
    Moved {
        /// Which line of the log.
        line: u64,
        /// Whose.
        process: String,
        /// Its number.
        number: u64,
    },
    /// A genuine line that does not follow the one before: two processes had one id, or somebody has the key.
    Forked {
        /// Which line of the log.
        line: u64,
        /// Whose.
        process: String,
        /// Its number.
        number: u64,
    },
    /// Lines that are not there.
    Missing {
        /// Whose.
        process: String,
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// The record of a process stops: the end was cut off, or the process was killed.
    EndMissing {
        /// Whose.
        process: String,
        /// The last line that is there.
        number: u64,
        /// When that was written.
        at: Timestamp,
    },
    /// Lines that were signed under a generation of the seal key that is not at hand.
    KeyUnknown {
        /// The generation.
        key: String,
        /// How many lines.
        lines: u64,
    },
    /// There is no line of the record at all.
    Empty,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { line } => {
                write!(f, "line {line} is of the record and cannot be read: it was cut, split or wrapped")
            }
            Self::Altered { line, process, number } => {
                write!(f, "line {line} was altered or made up: it claims to be number {number} of process {process}")
            }
            Self::Repeated { line, process, number } => {
                write!(f, "line {line} is number {number} of process {process}, which was there before")
            }
            Self::Moved { line, process, number } => {
                write!(f, "line {line} is number {number} of process {process}, which stands after later ones")
            }
            Self::Forked { line, process, number } => write!(
                f,
                "line {line} is number {number} of process {process} and does not follow the line before it: two processes have one id, or somebody else has the key"
            ),
            Self::Missing { process, from: 1, to } => {
                write!(f, "the beginning of process {process} is missing: its lines up to number {to}")
            }
            Self::Missing { process, from, to } if from == to => {
                write!(f, "number {from} of process {process} is missing")
            }
            Self::Missing { process, from, to } => {
                write!(f, "the numbers {from} to {to} of process {process} are missing")
            }
            Self::EndMissing { process, number, at } => write!(
                f,
                "the record of process {process} stops after number {number}, written at {at:.0}, without a closing line: its end was cut off, or it was killed"
            ),
            Self::KeyUnknown { key, lines } => {
                write!(f, "{lines} lines were signed under generation {key} of the seal key, which is not at hand")
            }
            Self::Empty => f.write_str("there is no line of the record"),
        }
    }
}

/// A process, as far as its record goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chronicle {
    /// Its id.
    pub process: String,
    /// Its pod, if its first line is there.
    pub pod: Option<String>,
    /// Its genuine lines.
    pub lines: u64,
    /// The time of the first that is there.
    pub from: Timestamp,
    /// The time of the last.
    pub to: Timestamp,
    /// Whether it was closed.
    pub closed: bool,
}

struct Process {
    seen: Chronicle,
    /// The number that comes next.
    next: u64,
    /// The mac of the last line, if that is the one before.
    mac: String,
    every: u64,
    /// Numbers that were passed over, from and to.
    gaps: BTreeMap<u64, u64>,
    /// Numbers of lines that were altered.
    altered: BTreeSet<u64>,
}

/// Checks lines as they come.
pub struct Verifier<'k> {
    keys: &'k RecordKeys,
    processes: BTreeMap<String, Process>,
    /// The last keys that were derived: one for each process and generation.
    derived: HashMap<(String, String), Option<hmac::Key>>,
    unknown: BTreeMap<String, u64>,
    lines: u64,
    of_record: u64,
}

impl<'k> Verifier<'k> {
    /// With these keys.
    pub fn new(keys: &'k RecordKeys) -> Self {
        Self {
            keys,
            processes: BTreeMap::new(),
            derived: HashMap::new(),
            unknown: BTreeMap::new(),
            lines: 0,
            of_record: 0,
        }
    }

    /// The next line of the log; `whole` unless it was too long to be read whole.
    pub fn line(&mut self, text: &str, whole: bool, found: &mut dyn FnMut(Finding)) {
        self.lines += 1;
        let line = self.lines;
        match see(text) {
            Seen::Other => {}
            Seen::Line(read) if whole => {
                self.of_record += 1;
                self.read(line, &read, found);
            }
            Seen::Damaged | Seen::Line(_) => {
                self.of_record += 1;
                found(Finding::Damaged { line });
            }
        }
    }

    fn read(&mut self, line: u64, read: &Read<'_>, found: &mut dyn FnMut(Finding)) {
        let (process, number) = (&read.says.process, read.says.number);
        match self.genuine(read) {
            None => {
                // Whoever makes lines up fills no memory with generations.
                let known = self.unknown.len() < GAPS || self.unknown.contains_key(&read.says.key);
                let key = if known { read.says.key.clone() } else { "others".to_owned() };
                *self.unknown.entry(key).or_default() += 1;
            }
            Some(false) => {
                if let Some(known) = self.processes.get_mut(process).filter(|p| p.altered.len() < ALTERED) {
                    known.altered.insert(number);
                }
                found(Finding::Altered { line, process: process.clone(), number });
            }
            Some(true) => self.follow(line, read, found),
        }
    }

    /// Whether it is as its process wrote it; None: nobody can tell without the key.
    fn genuine(&mut self, read: &Read<'_>) -> Option<bool> {
        let says = &read.says;
        if self.derived.len() >= GAPS {
            self.derived.clear();
        }
        let of = (says.process.clone(), says.key.clone());
        let derive = || self.keys.get(&says.key).map(|key| key.of_process(&says.process));
        self.derived.entry(of).or_insert_with(derive).as_ref().map(|key| read.is_genuine(key))
    }

    /// Where a genuine line belongs.
    fn follow(&mut self, line: u64, read: &Read<'_>, found: &mut dyn FnMut(Finding)) {
        let says = &read.says;
        let (id, number) = (says.process.clone(), says.number);
        let process = self.processes.entry(id.clone()).or_insert_with(|| Process {
            seen: Chronicle {
                process: id.clone(),
                pod: None,
                lines: 0,
                from: says.timestamp,
                to: says.timestamp,
                closed: false,
            },
            next: 1,
            mac: String::new(),
            every: 0,
            gaps: BTreeMap::new(),
            altered: BTreeSet::new(),
        });
        if number < process.next {
            return match process.fill(number) {
                true => {
                    process.seen.lines += 1;
                    found(Finding::Moved { line, process: id, number });
                }
                false => found(Finding::Repeated { line, process: id, number }),
            };
        }
        if number > process.next {
            process.gaps.insert(process.next, number - 1);
            if process.gaps.len() > GAPS
                && let Some((from, to)) = process.gaps.pop_first()
            {
                process.miss(from, to, found);
            }
        } else if says.after != process.mac {
            found(Finding::Forked { line, process: id, number });
        }
        process.next = number.saturating_add(1);
        process.mac = read.mac().to_owned();
        process.every = says.every.unwrap_or(process.every);
        process.seen.lines += 1;
        process.seen.to = says.timestamp;
        process.seen.closed = says.ends();
        process.seen.pod = says.pod.clone().or(process.seen.pod.take());
    }

    /// What is missing, and which processes there are. The log was taken `until` then: a record that is not closed must have had a
    /// mark shortly before.
    pub fn finish(self, until: Timestamp, found: &mut dyn FnMut(Finding)) -> Vec<Chronicle> {
        if self.of_record == 0 {
            found(Finding::Empty);
        }
        for (key, lines) in self.unknown {
            found(Finding::KeyUnknown { key, lines });
        }
        let mut seen = Vec::new();
        for process in self.processes.into_values() {
            for (from, to) in &process.gaps {
                process.miss(*from, *to, found);
            }
            let every = i64::try_from(process.every).unwrap_or(i64::MAX / 2);
            let allowed = SignedDuration::from_secs(every.saturating_mul(2)).saturating_add(LATE);
            // A mark that is further ahead was made by another clock, or after `until`.
            if !process.seen.closed && until.duration_since(process.seen.to).abs() > allowed {
                let Chronicle { process: id, to: at, .. } = &process.seen;
                found(Finding::EndMissing { process: id.clone(), number: process.next - 1, at: *at });
            }
            seen.push(process.seen);
        }
        seen
    }
}

impl Process {
    /// Whether the number was missing so far; it is no more.
    fn fill(&mut self, number: u64) -> bool {
        let Some((&from, &to)) = self.gaps.range(..=number).next_back().filter(|(_, to)| **to >= number) else {
            return false;
        };
        self.gaps.remove(&from);
        if from < number {
            self.gaps.insert(from, number - 1);
        }
        if number < to {
            self.gaps.insert(number + 1, to);
        }
        true
    }

    /// Tells a gap, but for what was told to be altered.
    fn miss(&self, from: u64, to: u64, found: &mut dyn FnMut(Finding)) {
        let mut from = from;
        let process = &self.seen.process;
        for &altered in self.altered.range(from..=to) {
            if from < altered {
                found(Finding::Missing { process: process.clone(), from, to: altered - 1 });
            }
            from = altered.saturating_add(1);
        }
        if from <= to {
            found(Finding::Missing { process: process.clone(), from, to });
        }
    }
}
