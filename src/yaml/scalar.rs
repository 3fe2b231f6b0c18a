//! What one written word means to kubectl: the rules of go-yaml v2, tried against kubectl itself.

use super::node::Value;
use base64::Engine;
use serde_json::Number;

/// The meaning of a scalar. `tag` is the core type it was tagged with (`int` for `!!int`), `foreign` says that it has
/// another tag, and `plain` that it has no quotes. `Err` is what is wrong with it.
pub(super) fn resolve(text: &str, plain: bool, tag: Option<&str>, foreign: bool) -> Result<Value, String> {
    let as_text = || Value::Text(text.to_owned());
    match tag {
        None if foreign || !plain => Ok(as_text()),
        None => finite(untagged(text)),
        Some("str" | "timestamp") => Ok(as_text()),
        Some("binary") => {
            let packed: String = text.split_whitespace().collect();
            let bytes = base64::engine::general_purpose::STANDARD.decode(packed);
            let bytes = bytes.map_err(|_| "!!binary is not base64".to_owned())?;
            Ok(Value::Text(String::from_utf8_lossy(&bytes).into_owned()))
        }
        Some(tag) => match (tag, finite(untagged(text))?) {
            ("bool", value @ Value::Bool(..)) | ("null", value @ Value::Null) => Ok(value),
            ("int", value @ Value::Number(..)) if !is_float(&value) => Ok(value),
            ("float", value @ Value::Number(..)) => Ok(value),
            ("bool" | "null" | "int" | "float", _) => Err(format!("{text:?} is not a !!{tag}")),
            _ => Ok(as_text()),
        },
    }
}

/// The name of a field that was written as something else than a text. A null cannot be one.
pub(super) fn field_name(value: Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text),
        Value::Bool(value, _) => Some(value.to_string()),
        // go-yaml v2 shortens a decimal fraction to 32 bits.
        Value::Number(number, _) if number.is_f64() => Some((number.as_f64()? as f32).to_string()),
        Value::Number(number, _) => Some(number.to_string()),
        _ => None,
    }
}

fn is_float(value: &Value) -> bool {
    matches!(value, Value::Number(number, _) if number.is_f64())
}

enum Meaning {
    Is(Value),
    NotFinite(String),
}

fn finite(meaning: Meaning) -> Result<Value, String> {
    match meaning {
        Meaning::Is(value) => Ok(value),
        Meaning::NotFinite(text) => {
            Err(format!("{text} is a number that JSON cannot hold: quote it to make it a text"))
        }
    }
}

fn untagged(text: &str) -> Meaning {
    let written = || text.to_owned();
    Meaning::Is(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Value::Bool(true, written())
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::Bool(false, written())
        }
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf"
        | "-.INF" => return Meaning::NotFinite(written()),
        _ => match number(text) {
            Some(number) => Value::Number(number, written()),
            None => Value::Text(written()),
        },
    })
}

/// A number, or nothing for a text. Dates are texts: they start with digits and a hyphen, which no number does.
fn number(text: &str) -> Option<Number> {
    match text.bytes().next()? {
        b'.' => float(text),
        b'0'..=b'9' | b'+' | b'-' => {
            let plain = text.replace('_', "");
            integer(&plain).or_else(|| float(&plain))
        }
        _ => None,
    }
}

/// Go's `ParseInt(text, 0, 64)`, then `ParseUint`: the base is in the prefix, and a leading zero means octal.
fn integer(text: &str) -> Option<Number> {
    let (sign, digits) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.as_bytes().first().copied(), rest),
        None => (None, text),
    };
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let size = u64::from_str_radix(digits, base).ok()?;
    match sign {
        Some(b'-') => 0_i64.checked_sub_unsigned(size).map(Number::from),
        Some(_) => i64::try_from(size).ok().map(Number::from),
        None => Some(Number::from(size)),
    }
}

/// go-yaml's decimal fractions: digits with at most one point, and an exponent. Too large a one stays a text.
fn float(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let some = |s: &str| !s.is_empty() && digits(s);
    let shaped = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    if !shaped || exponent.is_some_and(|e| !some(e)) {
        return None;
    }
    let value = text.parse::<f64>().ok().filter(|v| v.is_finite())?;
    // As it arrives at the API server: JSON has no difference between 1.0 and 1.
    if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `kubectl annotate --local -o json` prints for each word.
    #[test]
    fn words_mean_what_they_mean_to_kubectl() {
        for (text, json) in [
            ("yes", "true"),
            ("y", "true"),
            ("On", "true"),
            ("n", "false"),
            ("OFF", "false"),
            ("No", "false"),
            ("nO", "\"nO\""),
            ("~", "null"),
            ("", "null"),
            ("0777", "511"),
            ("0o777", "511"),
            ("1_000", "1000"),
            ("0x1F", "31"),
            ("0x_1F", "31"),
            ("0b11", "3"),
            ("0b1_1", "3"),
            ("-0b11", "-3"),
            ("0B11", "3"),
            ("1e3", "1000"),
            ("2001-01-01", "\"2001-01-01\""),
            ("2030-01-01T00:00:00Z", "\"2030-01-01T00:00:00Z\""),
            ("2001-1-1 1:2:3", "\"2001-1-1 1:2:3\""),
            ("123456789012", "123456789012"),
            ("012345678901", "12345678901"),
            ("1.0", "1"),
            (".5", "0.5"),
            ("-.5", "-0.5"),
            ("5.", "5"),
            ("1:30", "\"1:30\""),
            ("99999999999999999999", "1e+20"),
            ("18446744073709551615", "18446744073709551615"),
            ("+5", "5"),
            ("-0", "0"),
            ("089", "89"),
            ("1e400", "\"1e400\""),
            ("=", "\"=\""),
            ("0_7", "7"),
            ("_1", "\"_1\""),
            ("1__2", "12"),
            ("1_", "1"),
            ("0x", "\"0x\""),
            ("0xFFFFFFFFFFFFFFFFFF", "\"0xFFFFFFFFFFFFFFFFFF\""),
            ("12e03", "12000"),
            ("0777.5", "777.5"),
            ("00", "0"),
            ("0", "0"),
            ("-", "\"-\""),
            (".", "\".\""),
            ("1.2.3", "\"1.2.3\""),
            ("e3", "\"e3\""),
        ] {
            let node = resolve(text, true, None, false).unwrap();
            let node = super::super::Node { at: super::super::Place::START, value: node, weight: 1, height: 1 };
            assert_eq!(node.to_json().to_string(), json, "{text}");
        }
    }

    #[test]
    fn quotes_and_tags_decide() {
        let text = |s: &str| Ok(Value::Text(s.to_owned()));
        assert_eq!(resolve("yes", false, None, false), text("yes"));
        assert_eq!(resolve("yes", true, None, true), text("yes"), "! yes");
        assert_eq!(resolve("yes", true, Some("str"), false), text("yes"));
        assert_eq!(resolve("aGVsbG8=", true, Some("binary"), false), text("hello"));
        assert_eq!(resolve("5", false, Some("int"), false), Ok(Value::Number(5.into(), "5".into())));
        assert_eq!(resolve("on", true, Some("bool"), false), Ok(Value::Bool(true, "on".into())));
        assert!(resolve("abc", true, Some("int"), false).is_err());
        assert!(resolve(".nan", true, None, false).is_err());
    }

    #[test]
    fn field_names_are_texts() {
        for (text, name) in [("y", Some("true")), ("1", Some("1")), ("1.5", Some("1.5")), ("~", None), ("a", Some("a"))]
        {
            assert_eq!(field_name(resolve(text, true, None, false).unwrap()).as_deref(), name, "{text}");
        }
    }
}
