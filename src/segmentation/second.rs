//! Points in time of which there are many in memory.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroI64;

/// A point in time, in whole seconds. An optional one takes a third of a [`Timestamp`]'s memory; the first second of 1970 is
/// taken for the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Second(NonZeroI64);

impl Second {
    /// In Unix time.
    pub fn get(self) -> i64 {
        self.0.get()
    }

    /// From Unix time; None where that is beyond all calendars.
    pub fn from_unix(second: i64) -> Option<Self> {
        Timestamp::from_second(second).ok().map(Self::from)
    }
}

impl From<Timestamp> for Second {
    fn from(time: Timestamp) -> Self {
        Self(NonZeroI64::new(time.as_second()).unwrap_or(const { NonZeroI64::new(1).unwrap() }))
    }
}

impl From<Second> for Timestamp {
    fn from(second: Second) -> Self {
        Timestamp::from_second(second.get()).unwrap_or(if second.get() < 0 { Timestamp::MIN } else { Timestamp::MAX })
    }
}

impl fmt::Display for Second {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Timestamp::from(*self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_and_back() {
        for second in [-5, 1, 1_767_225_600] {
            let time = Timestamp::from_second(second).unwrap();
            assert_eq!(Timestamp::from(Second::from(time)), time);
        }
        assert_eq!(Second::from(Timestamp::UNIX_EPOCH).get(), 1);
        assert_eq!(Second::from_unix(i64::MAX), None);
        assert_eq!(Second::from_unix(1_767_225_600).unwrap().to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(size_of::<Option<Second>>(), 8);
    }
}
