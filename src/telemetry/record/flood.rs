//! Denials under attack: each gets a line of its own up to so many a minute, and what comes beyond is counted by kind. So whoever is
//! refused a thousand times a second fills no disk, and the number is told all the same. Pure.

use super::happening::Happening;
use jiff::Timestamp;
use std::collections::HashMap;

/// Denials between two marks that have lines of their own.
pub const ALONE: usize = 100;
/// Beyond them, so many kinds are told apart by user and namespace; the rest only by what, rule, reason and answer, of which
/// there are few.
pub const KINDS: usize = 64;

/// Something to be written: once, or for many alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When the last of them was.
    pub at: Timestamp,
    /// When the first was, if there are several.
    pub since: Option<Timestamp>,
    /// How many.
    pub count: u64,
    /// What each was.
    pub happening: Happening,
}

impl Entry {
    /// One.
    pub fn one(at: Timestamp, happening: Happening) -> Self {
        Self { at, since: None, count: 1, happening }
    }
}

/// What waits to be written.
#[derive(Debug, Default)]
pub struct Flood {
    /// Denials since the last mark that got, or get, lines of their own.
    alone: usize,
    waiting: Vec<Entry>,
    counted: HashMap<Happening, (Timestamp, Timestamp, u64)>,
}

impl Flood {
    /// Takes one in.
    pub fn add(&mut self, at: Timestamp, happening: Happening) {
        self.add_all(Entry::one(at, happening));
    }

    /// Takes in what may stand for many.
    pub fn add_all(&mut self, entry: Entry) {
        if self.alone < ALONE {
            self.alone += 1;
            self.waiting.push(entry);
            return;
        }
        let Entry { at, since, count: more, happening } = entry;
        let from = since.unwrap_or(at);
        let like = Happening {
            name: None,
            secret: None,
            operation: None,
            to: None,
            versions: Vec::new(),
            more_versions: 0,
            ..happening
        };
        let kind = match self.counted.len() < KINDS || self.counted.contains_key(&like) {
            true => like,
            false => Happening { by: Some("several".into()), namespace: None, kind: None, dry_run: false, ..like },
        };
        let (first, last, count) = self.counted.entry(kind).or_insert((from, at, 0));
        *first = from.min(*first);
        *last = at.max(*last);
        *count += more;
    }

    /// What has a line of its own, to be written now.
    pub fn alone(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.waiting)
    }

    /// Everything, with what was counted: at a mark.
    pub fn all(&mut self) -> Vec<Entry> {
        self.alone = 0;
        let mut all = self.alone();
        let counted = self.counted.drain();
        let mut told: Vec<Entry> = counted
            .map(|(happening, (first, at, count))| Entry { at, since: (count > 1).then_some(first), count, happening })
            .collect();
        told.sort_by(|a, b| (a.since, a.at, &a.happening.by).cmp(&(b.since, b.at, &b.happening.by)));
        all.append(&mut told);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Reason;
    use crate::telemetry::record::What;

    fn denial(user: usize, reason: Reason) -> Happening {
        Happening::of(What::Denied).by(&format!("user-{user}")).cluster("Secret", &format!("s{user}")).reason(reason)
    }

    #[test]
    fn nothing_is_lost_in_number_and_little_is_kept() {
        for users in [1, 10, 10_000] {
            let mut flood = Flood::default();
            let mut lines = 0;
            for n in 0..50_000usize {
                flood.add(Timestamp::UNIX_EPOCH, denial(n % users, Reason::ValueCopied));
                lines += if n % 7 == 0 { flood.alone().len() } else { 0 };
                assert!(flood.waiting.len() <= ALONE && flood.counted.len() <= KINDS + 1);
            }
            let rest = flood.all();
            assert_eq!(lines as u64 + rest.iter().map(|entry| entry.count).sum::<u64>(), 50_000);
            assert!(lines + rest.len() <= ALONE + KINDS + 1, "{users} users: {lines} lines and {}", rest.len());
            assert!(flood.all().is_empty());
        }
    }

    #[test]
    fn few_have_lines_of_their_own_in_their_order() {
        let mut flood = Flood::default();
        for user in 0..3 {
            flood.add(Timestamp::UNIX_EPOCH, denial(user, Reason::ValueCopied));
        }
        let told = flood.alone();
        assert_eq!(
            told.iter().map(|entry| entry.happening.name.as_deref()).collect::<Vec<_>>(),
            [Some("s0"), Some("s1"), Some("s2")]
        );
        assert!(told.iter().all(|entry| entry.count == 1 && entry.since.is_none()));
    }
}
