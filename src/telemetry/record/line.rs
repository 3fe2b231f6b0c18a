//! One line of the record: how it is written, signed and read again. Pure.
//!
//! A line is a JSON object whose last member is `mac`. What is signed is the text before that, byte for byte, so that nobody need
//! agree on how JSON is to be written; `after`, the mac of the line before, is part of it.

use super::happening::{Happening, What};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The target of the lines, as the log has one for each.
pub const TARGET: &str = "scoped_secrets::record";
/// How each line begins, wherever in a line of the log that is.
pub const BEGINS: &str = "{\"record\":1,\"process\":\"";
const MAC: &str = ",\"mac\":\"";
const MAC_BYTES: usize = 16;
/// Characters of a mac.
const MAC_TEXT: usize = 22;

/// What stands in a line beside what happened.
#[derive(Debug, Clone, Default)]
pub struct Place<'a> {
    /// The process, by its random id.
    pub process: &'a str,
    /// Counts the lines of the process from 1.
    pub number: u64,
    /// The generation of the seal key.
    pub key: &'a str,
    /// The mac of the line before; empty in the first one.
    pub after: &'a str,
    /// How many happenings alike it stands for.
    pub count: u64,
    /// When the first of them was.
    pub since: Option<Timestamp>,
    /// In the first line and the marks: how many seconds until the next mark.
    pub every: Option<u64>,
    /// In the first line: whose process it is, and of which version of the program.
    pub pod: Option<&'a str>,
}

#[derive(Serialize)]
struct Written<'a> {
    record: u8,
    process: &'a str,
    number: u64,
    key: &'a str,
    after: &'a str,
    timestamp: Timestamp,
    level: &'static str,
    target: &'static str,
    message: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    every: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    #[serde(flatten)]
    happening: &'a Happening,
}

/// The line, and its mac. None: it cannot be put into JSON, which does not happen.
pub fn write(place: &Place<'_>, at: Timestamp, happening: &Happening, key: &hmac::Key) -> Option<(String, String)> {
    let written = Written {
        record: 1,
        process: place.process,
        number: place.number,
        key: place.key,
        after: place.after,
        timestamp: at,
        level: "INFO",
        target: TARGET,
        message: happening.what.meaning(),
        pod: place.pod,
        version: place.pod.map(|_| env!("CARGO_PKG_VERSION")),
        every: place.every,
        count: (place.count > 1).then_some(place.count),
        since: place.since,
        happening,
    };
    let mut line = serde_json::to_string(&written).ok()?;
    line.pop();
    let mac = mac(key, line.as_bytes());
    line.push_str(MAC);
    line.push_str(&mac);
    line.push_str("\"}");
    Some((line, mac))
}

fn mac(key: &hmac::Key, signed: &[u8]) -> String {
    BASE64.encode(&hmac::sign(key, signed).as_ref()[..MAC_BYTES])
}

/// A line that says of itself that it is of the record.
#[derive(Debug)]
pub struct Read<'a> {
    /// What it says, true or not.
    pub says: Says,
    /// What is signed.
    signed: &'a str,
    mac: &'a str,
}

/// What a line says of where it belongs.
#[derive(Debug, Clone, Deserialize)]
pub struct Says {
    /// The process.
    pub process: String,
    /// Its number.
    pub number: u64,
    /// The generation of the seal key.
    pub key: String,
    /// The mac of the line before.
    pub after: String,
    /// When.
    pub timestamp: Timestamp,
    /// What happened.
    pub what: String,
    /// Seconds until the next mark.
    #[serde(default)]
    pub every: Option<u64>,
    /// The process' pod.
    #[serde(default)]
    pub pod: Option<String>,
}

impl Says {
    /// Whether it closes the record of its process.
    pub fn ends(&self) -> bool {
        self.what == What::Ended.as_str()
    }
}

/// What a line of a log is.
#[derive(Debug)]
pub enum Seen<'a> {
    /// Some other line.
    Other,
    /// It is, or was, of the record, and cannot be read: cut, split or wrapped.
    Damaged,
    /// A line of the record.
    Line(Read<'a>),
}

/// Looks at a line of a log. Something may stand before the record, such as a time or a pod's name; nothing after it.
pub fn see(line: &str) -> Seen<'_> {
    let Some(begin) = line.find(BEGINS) else {
        return if line.contains(TARGET) { Seen::Damaged } else { Seen::Other };
    };
    let text = line[begin..].trim_end();
    let Some(tail) = text.len().checked_sub(MAC.len() + MAC_TEXT + 2).filter(|at| text.is_char_boundary(*at)) else {
        return Seen::Damaged;
    };
    let (signed, rest) = text.split_at(tail);
    let mac = rest.strip_prefix(MAC).and_then(|rest| rest.strip_suffix("\"}"));
    match (mac, serde_json::from_str(text)) {
        (Some(mac), Ok(says)) => Seen::Line(Read { says, signed, mac }),
        _ => Seen::Damaged,
    }
}

impl Read<'_> {
    /// Whether it was written with this key, as it stands.
    pub fn is_genuine(&self, key: &hmac::Key) -> bool {
        // Compared in one time for all: a mac is no secret to whoever has the log, but nobody need find one by trying.
        BASE64.decode(self.mac).is_ok_and(|mac| {
            let right = hmac::sign(key, self.signed.as_bytes());
            mac.len() == MAC_BYTES
                && aws_lc_rs::constant_time::verify_slices_are_equal(&mac, &right.as_ref()[..MAC_BYTES]).is_ok()
        })
    }

    /// Its mac, by which the next line names it.
    pub fn mac(&self) -> &str {
        self.mac
    }
}
