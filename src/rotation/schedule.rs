//! A cron line in a time zone.
//!
//! A line names times of the wall clock, and each of them is one slot: one that daylight saving leaves out comes when the
//! clocks have gone forward, one that it repeats comes the first time. Lines are matched day by day, so that one that never
//! fires is found in bounded time, and zones are built in, so that every replica, the plugin and a bare image know the same.

use crate::digest::sha256_hex;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};
use std::sync::LazyLock;

/// No key is rotated more often than this.
pub const FLOOR: SignedDuration = SignedDuration::from_mins(10);

/// The longest jitter.
const LONGEST_JITTER: SignedDuration = SignedDuration::from_hours(1);

/// The 29th of February may be eight years off, around 2100: so many days are looked at.
const HORIZON_DAYS: i64 = 3_000;

/// Why a schedule cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum InvalidSchedule {
    #[error(
        "rotation.schedule {0:?} is no cron line of five fields (minute, hour, day of month, month, day of week; digits, names, and * , - /): write one such as \"0 3 * * 0\""
    )]
    NotACronLine(String),
    #[error(
        "rotation.schedule {0:?} never fires, since no month has that day: write one that does, such as \"0 3 1 * *\""
    )]
    NeverFires(String),
    #[error(
        "rotation.schedule {0:?} has times that are less than ten minutes apart, and a key is rotated at most every ten minutes: write a longer interval"
    )]
    TooOften(String),
    #[error(
        "rotation.timeZone {0:?} is not known: write a name of the IANA time zone database, such as Europe/Stockholm or UTC"
    )]
    UnknownZone(String),
    #[error("rotation.timeZone is {0:?}, but there is no rotation.schedule: write one, or remove it")]
    ZoneWithoutSchedule(String),
}

/// When a key is rotated.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    /// The times of a day, in ascending order.
    times: Vec<Time>,
    zone: TimeZone,
    /// The least that lies between two slots.
    interval: SignedDuration,
    rule: Box<str>,
}

impl Schedule {
    /// Reads a cron line; without a zone it is in UTC.
    pub fn parse(line: &str, zone: Option<&str>) -> Result<Self, InvalidSchedule> {
        let not_cron = || InvalidSchedule::NotACronLine(line.to_owned());
        let is_plain = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b"*-/".contains(&b));
        let plain = |field: &str| field.split(',').all(|part| !part.is_empty() && is_plain(part));
        // L, W and # are extensions that other readers of cron lines understand otherwise.
        let extended = |field: &str| {
            let mut words = field.split(|c: char| !c.is_ascii_alphabetic());
            words.any(|word| !word.is_empty() && word.len() != 3)
                || field
                    .split(|c: char| !c.is_ascii_alphanumeric())
                    .any(|w| w.bytes().any(|b| b.is_ascii_digit()) && w.bytes().any(|b| b.is_ascii_alphabetic()))
        };
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        if fields.len() != 5 || fields.iter().any(|field| !plain(field) || extended(field)) {
            return Err(not_cron());
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(&fields.join(" ")).map_err(|_| not_cron())?;
        let is = |matched: Result<bool, _>| matched.unwrap_or(false);
        let minutes: Vec<i8> = (0..60).filter(|m| is(cron.pattern.minute_match(*m))).filter_map(small).collect();
        let hours = (0..24).filter(|h| is(cron.pattern.hour_match(*h))).filter_map(small);
        let of_hour = |hour: i8| minutes.iter().filter_map(move |minute| Time::new(hour, *minute, 0, 0).ok());
        let times: Vec<Time> = hours.flat_map(of_hour).collect();
        if times.is_empty() {
            return Err(not_cron());
        }
        let zone = match zone {
            None => TimeZone::UTC,
            Some(name) => time_zone(name).ok_or_else(|| InvalidSchedule::UnknownZone(name.to_owned()))?,
        };
        let rule = sha256_hex(format!("{} {}", fields.join(" "), zone.iana_name().unwrap_or_default()).as_bytes());
        let mut schedule = Self { cron, times, zone, interval: SignedDuration::MAX, rule: rule[..16].into() };
        schedule.interval = schedule.shortest().ok_or_else(|| InvalidSchedule::NeverFires(line.to_owned()))?;
        if schedule.interval < FLOOR {
            return Err(InvalidSchedule::TooOften(line.to_owned()));
        }
        Ok(schedule)
    }

    /// The same for the same schedule, another for another.
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// The least that lies between two slots, by the wall clock.
    pub fn interval(&self) -> SignedDuration {
        self.interval
    }

    /// The first slot after this time.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        // Where daylight saving leaves out midnight, a slot of yesterday's may still be ahead.
        let first = self.zone.to_datetime(after).date().yesterday().ok()?;
        let mut days = days_from(first, 1).filter(|day| self.has(*day));
        days.find_map(|day| self.times.iter().filter_map(|time| self.slot(day, *time)).find(|slot| *slot > after))
    }

    /// The last slot up to this time.
    pub fn latest(&self, until: Timestamp) -> Option<Timestamp> {
        let last = self.zone.to_datetime(until).date();
        let mut days = days_from(last, -1).filter(|day| self.has(*day));
        days.find_map(|day| {
            let mut slots = self.times.iter().rev().filter_map(|time| self.slot(day, *time));
            slots.find(|slot| *slot <= until)
        })
    }

    /// How much later than its slots something comes: a tenth of the interval at most, so that thousands that are due at
    /// three do not come at once, and at most an hour, so that three stays three. By its name, so that it is the same each
    /// time, and after a restart.
    pub fn jitter(&self, name: &str) -> SignedDuration {
        let spread = (self.interval / 10).min(LONGEST_JITTER).as_secs().max(1);
        let digits = sha256_hex(name.as_bytes());
        let number = i64::from_str_radix(&digits[..12], 16).unwrap_or(0);
        SignedDuration::from_secs(number % spread)
    }

    fn has(&self, day: Date) -> bool {
        let pattern = &self.cron.pattern;
        let (year, month, number) = (i32::from(day.year()), day.month() as u32, day.day() as u32);
        let weekday = croner::Weekday::from_days_from_sunday(day.weekday().to_sunday_zero_offset() as u32);
        pattern.month_match(month).unwrap_or(false) && pattern.day_match(year, month, number, weekday).unwrap_or(false)
    }

    /// When a time of the wall clock comes: the first time, and one that is left out when the clocks have gone forward.
    fn slot(&self, day: Date, time: Time) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(day.to_datetime(time));
        match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
            AmbiguousOffset::Gap { .. } => {
                let beyond = ambiguous.later().ok()?.checked_add(SignedDuration::from_nanos(1)).ok()?;
                self.zone.preceding(beyond).next().map(|transition| transition.timestamp())
            }
        }
    }

    /// None: it never fires.
    fn shortest(&self) -> Option<SignedDuration> {
        let between = |earlier: Time, later: Time| later.duration_since(earlier);
        let within = self.times.windows(2).map(|pair| between(pair[0], pair[1])).min();
        let overnight = SignedDuration::from_hours(24) - between(*self.times.first()?, *self.times.last()?);
        // From a leap year on, so that every day that there is comes.
        let days: Vec<i64> = days_from(Date::constant(2024, 1, 1), 1)
            .enumerate()
            .filter(|(_, day)| self.has(*day))
            .filter_map(|(number, _)| i64::try_from(number).ok())
            .collect();
        days.first()?;
        let apart = days.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap_or(HORIZON_DAYS);
        let across = overnight + SignedDuration::from_hours(24 * (apart - 1));
        Some(within.map_or(across, |within| within.min(across)))
    }
}

fn small(number: u32) -> Option<i8> {
    i8::try_from(number).ok()
}

fn days_from(first: Date, step: i64) -> impl Iterator<Item = Date> {
    (0..HORIZON_DAYS).map_while(move |n| first.checked_add(SignedDuration::from_hours(24 * n * step)).ok())
}

/// A zone by its name in the database that is built in. Names of the machine's own are not looked at.
fn time_zone(name: &str) -> Option<TimeZone> {
    static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
    ZONES.get(name).ok()
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
