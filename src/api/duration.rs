//! Durations as users write them: Go's form (`90s`, `1h30m`) or whole days (`90d`), never mixed.

use std::time::Duration;

/// What a duration looks like: short enough that CEL can reckon with every one.
const PATTERN: &str = "^(([0-9]{1,5}([.][0-9]{1,9})?h|[0-9]{1,7}([.][0-9]{1,9})?m|[0-9]{1,9}([.][0-9]{1,9})?(ns|us|µs|ms|s))+|[0-9]{1,6}d|0)$";

/// The rules of a field of a CRD that is a duration of at least a second and at most so many days; or none at all, where that
/// means something.
pub fn validations(field: &str, zero: Option<&str>, days: u32) -> serde_json::Value {
    let none = zero.is_some();
    let number = "int(self.substring(0, size(self) - 1))";
    let least = if none { 0 } else { 1 };
    let fits = format!("duration(self) >= duration('1s') && duration(self) <= duration('{}h')", days * 24);
    let rule = format!(
        "!self.matches('{PATTERN}') || (self == '0' ? {none} : self.endsWith('d') ? {number} >= {least} && {number} <= {days} : ({none} && duration(self) == duration('0s')) || ({fits}))"
    );
    let means = zero.map(|means| format!("0s ({means}) or ")).unwrap_or_default();
    serde_json::json!([
        {"rule": format!("self.matches('{PATTERN}')"),
         "message": format!("{field} is written in Go's form (90s, 15m, 1h30m) or as whole days (90d), not both, without a sign and with few digits")},
        {"rule": rule, "message": format!("{field} is {means}between 1s and {days}d")}
    ])
}

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration: write Go's form (90s, 15m, 1h30m) or whole days (90d), not both, without a sign")]
pub struct NotADuration(pub String);

/// Reads a duration. The text itself is never rewritten: GitOps tools compare what they wrote.
///
/// ```
/// use scoped_secrets::api::duration::parse;
/// use std::time::Duration;
/// assert_eq!(parse("1h30m").unwrap(), Duration::from_secs(5400));
/// assert_eq!(parse("90d").unwrap(), Duration::from_secs(90 * 86_400));
/// assert!(parse("1d12h").is_err());
/// ```
pub fn parse(text: &str) -> Result<Duration, NotADuration> {
    let fail = || NotADuration(text.to_owned());
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if let Some(days) = text.strip_suffix('d') {
        let whole = !days.is_empty() && days.bytes().all(|b| b.is_ascii_digit());
        let days: u64 = if whole { days.parse().map_err(|_| fail())? } else { return Err(fail()) };
        return days.checked_mul(86_400).map(Duration::from_secs).ok_or_else(fail);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number_len = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (number, after) = rest.split_at(number_len);
        let unit_len = after.bytes().take_while(|b| !b.is_ascii_digit() && *b != b'.').count();
        let (unit, after) = after.split_at(unit_len);
        let nanos_per_unit: u64 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(fail()),
        };
        total = total.checked_add(scale(number, nanos_per_unit).ok_or_else(fail)?).ok_or_else(fail)?;
        rest = after;
    }
    if text.is_empty() { Err(fail()) } else { Ok(total) }
}

/// `number` (decimal, at most one point) times a unit, in whole nanoseconds, rounded down.
fn scale(number: &str, nanos_per_unit: u64) -> Option<Duration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits_only = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || whole.len() > 18 || fraction.len() > 9 || !digits_only(whole) || !digits_only(fraction) {
        return None;
    }
    let mut nanos = u128::from(whole.parse::<u64>().ok()?) * u128::from(nanos_per_unit);
    if !fraction.is_empty() {
        let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
        nanos += u128::from(fraction.parse::<u64>().ok()?) * u128::from(nanos_per_unit) / scale;
    }
    Some(Duration::new(u64::try_from(nanos / 1_000_000_000).ok()?, (nanos % 1_000_000_000) as u32))
}

/// The same length of time in the largest units that fit: `1h30m`, `2d`, `0s`. For messages only.
pub fn humanize(length: Duration) -> String {
    let seconds = length.as_secs();
    if seconds == 0 {
        return if length.is_zero() { "0s".into() } else { format!("{}ms", length.as_millis()) };
    }
    if seconds.is_multiple_of(86_400) {
        return format!("{}d", seconds / 86_400);
    }
    let mut text = String::new();
    for (unit, size) in [("h", 3600), ("m", 60), ("s", 1)] {
        let count = match unit {
            "h" => seconds / 3600,
            "m" => seconds % 3600 / 60,
            _ => seconds % 60 / size,
        };
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_users_write() {
        for (text, seconds) in [("0s", 0), ("0", 0), ("90s", 90), ("1h30m", 5400), ("1.5h", 5400), ("90d", 7_776_000)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
    }

    #[test]
    fn refuses_what_it_cannot_keep() {
        for text in ["", "1", "d", "1d12h", "-1h", "1.5d", "1h 30m", "h", "1.h5", "..s", "99999999999999999999h", "1y"]
        {
            assert_eq!(parse(text), Err(NotADuration(text.into())), "{text}");
        }
    }

    #[test]
    fn says_it_back_shortly() {
        for text in ["0s", "90d", "1h30m", "45s", "25h", "250ms"] {
            assert_eq!(humanize(parse(text).unwrap()), text);
        }
    }
}
