//! The forms in which a value is carried, undone: base64, JSON and percent escapes, quotes, entities, indentation. Each in one
//! pass, into no more bytes than it was.

use super::WINDOW;
use memchr::{memchr, memchr2, memchr3};
use std::cell::Cell;
use std::ops::Range;

/// Digits of the shortest base64 that can hold a value.
const SHORTEST_RUN: usize = WINDOW * 4 / 3 + 1;

/// Digits that are no word: the shortest line of base64 that is wrapped by blanks.
const LINE: usize = 20;

const NO_DIGIT: u8 = 0xff;

/// Counts what is done beside going over a text: escapes that are tried, words that may be base64,
/// places where text may begin.
#[derive(Debug, Default)]
pub(super) struct Effort(Cell<usize>);

impl Effort {
    fn add(&self, times: usize) {
        self.0.set(self.0.get() + times);
    }

    /// What was done since it was last asked.
    pub(super) fn take(&self) -> usize {
        self.0.take()
    }
}

/// The value of each base64 digit, of both alphabets.
const DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut i = 0;
    while i < alphabet.len() {
        digits[alphabet[i] as usize] = i as u8;
        i += 1;
    }
    digits[b'-' as usize] = 62;
    digits[b'_' as usize] = 63;
    digits
};

/// Bytes that can be in a run: digits, and what may be between them where a line ends.
const IN_RUN: [bool; 256] = {
    let mut can = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        can[byte] = DIGITS[byte] != NO_DIGIT || (byte as u8).is_ascii_whitespace();
        byte += 1;
    }
    can
};

/// Bytes of which a part of what a form sends consists.
const IS_SENT: [bool; 256] = {
    let mut sent = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        sent[byte as usize] = !matches!(byte, b'&' | b'=' | b';' | b'"' | b'<' | b'>' | b'\\');
        byte += 1;
    }
    sent
};

fn is_digit(byte: &u8) -> bool {
    DIGITS[usize::from(*byte)] != NO_DIGIT
}

/// Bytes that can be in text: none that UTF-8 never has; and in what was base64, no control character but those that terminals and
/// editors write, since of wrongly aligned base64 nearly nothing is text then.
const IN_TEXT: [bool; 256] = in_text(true);
const IN_BASE64_TEXT: [bool; 256] = in_text(false);

const fn in_text(controls: bool) -> [bool; 256] {
    let mut can = [true; 256];
    let mut byte = 0;
    while byte < 256 {
        let control = byte < b' ' as usize && !matches!(byte as u8, b'\t' | b'\n' | b'\r' | b'\x0c' | b'\x1b');
        can[byte] = (controls || !control) && !matches!(byte, 0xc0 | 0xc1 | 0xf5..);
        byte += 1;
    }
    can
}

/// The high bits of those bytes, the first of them the lowest, of which each is where UTF-8 is broken: what goes on with a character that
/// none began, or what does not go on with one that began. What stands before the first byte is taken for ASCII. In all bytes at a
/// time, since what was read as base64 at a wrong alignment has several such places in each window.
fn breaks(bytes: u128) -> u128 {
    const HIGH: u128 = u128::from_le_bytes([0x80; WINDOW]);
    let (high, second) = (bytes & HIGH, bytes << 1 & HIGH);
    let (goes_on, begins) = (high & !second, high & second);
    (goes_on & !(high << 8)) | (begins << 8 & !goes_on)
}

/// With how many bytes of a window, before which a character ended, no text can begin.
fn broken(window: &[u8; WINDOW]) -> usize {
    match breaks(u128::from_le_bytes(*window)).checked_ilog2() {
        None => 0,
        Some(..8) => window.iter().take_while(|byte| **byte & 0xc0 == 0x80).count(),
        Some(bit) => bit as usize / 8,
    }
}

/// Whether UTF-8 is broken within these bytes, so that no text of a window's length begins in those before them.
fn is_broken(half: &[u8; WINDOW / 2]) -> bool {
    breaks(u64::from_le_bytes(*half).into()) as u64 & !0xff != 0
}

/// What a text has where it may be indented, escaped or quoted.
const MARKS: &[u8] = b"\n\\%'\"&+";

const IS_MARK: [bool; 256] = {
    let mut is = [false; 256];
    let mut i = 0;
    while i < MARKS.len() {
        is[MARKS[i] as usize] = true;
        i += 1;
    }
    is
};

/// Whether a text may have other forms.
pub(super) fn has_marks(text: &[u8]) -> bool {
    MARKS.iter().any(|mark| memchr(*mark, text).is_some())
}

/// The parts of what may be anything that are text, long enough to hold a value, and may have other forms.
pub(super) fn texts<'t>(bytes: &'t [u8], was_base64: bool, effort: &'t Effort) -> impl Iterator<Item = &'t [u8]> {
    let can = if was_base64 { &IN_BASE64_TEXT } else { &IN_TEXT };
    let is_other = move |byte: &u8| !can[usize::from(*byte)];
    let (mut at, mut end) = (0, 0);
    std::iter::from_fn(move || {
        loop {
            while bytes.get(at + WINDOW / 2..)?.first_chunk().is_some_and(is_broken) {
                at += WINDOW / 2;
            }
            let window = bytes.get(at..)?.first_chunk()?;
            let none = match broken(window) {
                0 => window.iter().rposition(is_other).map_or(0, |other| other + 1),
                broken => broken,
            };
            if none > 0 {
                at += none;
                continue;
            }
            if at >= end {
                end = at + bytes[at..].iter().position(is_other).unwrap_or(bytes.len() - at);
            }
            // As much as two escapes that are tried.
            effort.add(2);
            let part = &bytes[at..end];
            let (valid, after) = match std::str::from_utf8(part) {
                Ok(_) => (part.len(), 0),
                Err(error) => {
                    let valid = error.valid_up_to();
                    (valid, error.error_len().unwrap_or(part.len() - valid))
                }
            };
            at += valid + after;
            if valid >= WINDOW && part[..valid].iter().any(|byte| IS_MARK[usize::from(*byte)]) {
                return Some(&part[..valid]);
            }
        }
    })
}

/// With how many digits a text begins.
fn leading_digits(text: &[u8]) -> usize {
    let are_digits = |eight: &&[u8; 8]| eight.iter().fold(0, |all, byte| all | DIGITS[usize::from(*byte)]) != NO_DIGIT;
    let eights = 8 * text.as_chunks().0.iter().take_while(are_digits).count();
    eights + text[eights..].iter().take_while(|byte| is_digit(byte)).count()
}

/// A part of a text that may be base64.
struct Run {
    at: Range<usize>,
    /// How many there are in it.
    digits: usize,
}

/// The parts of a text that may be base64: digits, with line breaks and the blanks around them among them. A shell makes blanks of
/// line breaks: what is as long as a line, and no word, may be followed by those alone.
fn runs<'t>(text: &'t [u8], effort: &'t Effort) -> impl Iterator<Item = Run> {
    let (mut at, mut clear) = (0, 0);
    std::iter::from_fn(move || {
        loop {
            // The shortest covers as many bytes at least: of what is no text, nearly all is passed over so.
            loop {
                let known = usize::min(clear.max(at) - at, SHORTEST_RUN);
                let window = &text.get(at..at + SHORTEST_RUN)?[known..];
                let Some(other) = window.iter().rposition(|byte| !IN_RUN[usize::from(*byte)]) else { break };
                at += known + other + 1;
            }
            clear = at + SHORTEST_RUN;
            effort.add(1);
            at += text.get(at..)?.iter().position(is_digit)?;
            let (start, mut digits) = (at, 0);
            let mut end = at;
            loop {
                let more = leading_digits(&text[at..]);
                digits += more;
                at += more;
                if more > 0 {
                    end = at;
                }
                let blank = text[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
                let breaks = more >= LINE || text[at..at + blank].contains(&b'\n');
                if blank == 0 || !breaks {
                    break;
                }
                at += blank;
                if !text.get(at).is_some_and(is_digit) {
                    break;
                }
            }
            if digits >= SHORTEST_RUN {
                return Some(Run { at: start..end, digits });
            }
        }
    })
}

/// The runs of base64 in a text, from which they are read at any alignment.
#[derive(Default)]
pub(super) struct Runs {
    /// Six bits a digit; each run filled up with zeros.
    packed: Vec<u8>,
    /// Where each begins in it, and how many digits it has.
    each: Vec<(usize, usize)>,
    /// Of a run with more than digits in it.
    digits: Vec<u8>,
}

impl Runs {
    /// How many alignments there are: four digits are three bytes.
    pub(super) const ALIGNMENTS: usize = 4;

    /// Takes those of a text that are of interest, in place of what there was.
    pub(super) fn take(&mut self, text: &[u8], of_interest: &dyn Fn(&Range<usize>) -> bool, effort: &Effort) {
        self.packed.clear();
        self.each.clear();
        runs(text, effort).filter(|run| of_interest(&run.at)).for_each(|run| self.add(&text[run.at], run.digits));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.each.len()
    }

    /// How many digits there are in them.
    pub(super) fn digits(&self) -> usize {
        self.packed.len() / 3 * 4
    }

    fn add(&mut self, run: &[u8], digits: usize) {
        // One digit over and over is nothing that is hard to guess.
        if run[1..] == run[..run.len() - 1] {
            return;
        }
        let mut run = run;
        if run.len() > digits {
            self.digits.clear();
            self.digits.extend(run.iter().filter(|byte| is_digit(byte)));
            run = &self.digits;
        }
        let start = self.packed.len();
        self.each.push((start, digits));
        let (whole, rest) = run.as_chunks::<4>();
        // Zeros, to fill up with.
        let mut last = [b'A'; 4];
        last[..rest.len()].copy_from_slice(rest);
        self.packed.resize(start + 3 * (whole.len() + 1), 0);
        let room = self.packed[start..].as_chunks_mut::<3>().0;
        let value = |digit: u8| DIGITS[usize::from(digit)];
        for (bytes, [a, b, c, d]) in room.iter_mut().zip(whole.iter().chain([&last])) {
            let [a, b, c, d] = [value(*a), value(*b), value(*c), value(*d)];
            *bytes = [a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d];
        }
    }

    /// What the digits of each stand for without the first few of them: all in one text, since there may be very many short
    /// ones, with a zero behind each.
    pub(super) fn read(&self, without: usize, into: &mut Vec<u8>) {
        into.clear();
        into.reserve(self.packed.len());
        let shift = without * 6 % 8;
        for (start, digits) in &self.each {
            let bytes = &self.packed[start + without * 6 / 8..];
            let length = Self::length(*digits, without);
            match shift {
                0 => into.extend_from_slice(&bytes[..length]),
                _ => {
                    into.extend(bytes[..length].iter().zip(&bytes[1..]).map(|(a, b)| a << shift | b >> (8 - shift)));
                }
            }
            into.push(0);
        }
    }

    /// Where each is in that text.
    pub(super) fn parts(&self, without: usize) -> impl Iterator<Item = Range<usize>> {
        self.each.iter().scan(0, move |at, (_, digits)| {
            let part = *at..*at + Self::length(*digits, without);
            *at = part.end + 1;
            Some(part)
        })
    }

    /// A run has more digits than are ever left out.
    fn length(digits: usize, without: usize) -> usize {
        (digits - without) * 6 / 8
    }
}

/// A text without its escapes, and where they were in it.
pub(super) struct Unescaped {
    pub(super) text: Vec<u8>,
    /// Positions, in order.
    pub(super) changed: Vec<usize>,
}

impl Unescaped {
    /// JSON's escapes undone, or else percent escapes; None: there are none of either.
    pub(super) fn of(text: &[u8], effort: &Effort) -> Option<Self> {
        let json = |at: &[u8]| json_escape(&at[1..]).map(|(what, length)| (what, 1 + length));
        Self::undo(text, |at| memchr(b'\\', at), json, effort)
            .or_else(|| Self::undo(text, |at| memchr(b'%', at), percent_escape, effort))
    }

    /// Quotes inside quotes undone, as YAML, SQL, CSV and the shell write them, and the entities of XML and HTML.
    pub(super) fn quoted(text: &[u8], effort: &Effort) -> Option<Self> {
        Self::undo(text, next_quote, |at| quote(at).or_else(|| entity(at)), effort)
    }

    /// What a form sends, percent escapes and a plus for each blank, where there is a plus: those parts alone, with a zero between
    /// them. Encoders differ in what else they leave as it is. Long base64 is none.
    pub(super) fn form(text: &[u8], effort: &Effort) -> Option<Self> {
        const LONGEST: usize = 1024;
        let is_sent = |byte: &u8| IS_SENT[usize::from(*byte)];
        let (mut parts, mut at) = (Vec::new(), 0);
        while let Some(plus) = memchr(b'+', &text[at..]) {
            let (before, after) = text[at..].split_at(plus);
            let start = at + before.iter().rposition(|byte| !is_sent(byte)).map_or(0, |other| other + 1);
            let end = at + plus + after.iter().position(|byte| !is_sent(byte)).unwrap_or(after.len());
            let part = &text[start..end];
            effort.add(1);
            if part.len() >= WINDOW && !(part.len() > LONGEST && part.iter().all(is_digit)) {
                if !parts.is_empty() {
                    parts.push(0);
                }
                parts.extend_from_slice(part);
            }
            at = end;
        }
        let blank = |at: &[u8]| (at[0] == b'+').then_some((' ', 1));
        Self::undo(&parts, |at| memchr2(b'+', b'%', at), |at| blank(at).or_else(|| percent_escape(at)), effort)
    }

    /// Whether an escape was in this range.
    pub(super) fn changed_in(&self, range: &Range<usize>) -> bool {
        self.changed.get(self.changed.partition_point(|at| *at < range.start)).is_some_and(|at| *at < range.end)
    }

    /// `next` finds a mark; `escape` is asked at each what stands there, and how many bytes it has.
    fn undo(
        text: &[u8],
        next: impl Fn(&[u8]) -> Option<usize>,
        escape: impl Fn(&[u8]) -> Option<(char, usize)>,
        effort: &Effort,
    ) -> Option<Self> {
        let mut undone = Self { text: Vec::new(), changed: Vec::new() };
        let (mut at, mut copied) = (0, 0);
        while let Some(plain) = next(&text[at..]) {
            at += plain;
            effort.add(1);
            let Some((what, length)) = escape(&text[at..]) else {
                at += 1;
                continue;
            };
            if undone.changed.is_empty() {
                undone.text.reserve(text.len());
            }
            undone.text.extend_from_slice(&text[copied..at]);
            undone.changed.push(undone.text.len());
            match text[at] {
                // A byte, not a character.
                b'%' => undone.text.push(what as u8),
                _ => undone.text.extend_from_slice(what.encode_utf8(&mut [0; 4]).as_bytes()),
            }
            at += length;
            copied = at;
        }
        if undone.changed.is_empty() {
            return None;
        }
        undone.text.extend_from_slice(&text[copied..]);
        Some(undone)
    }
}

/// What stands after a backslash in JSON, and how many bytes it has.
fn json_escape(after: &[u8]) -> Option<(char, usize)> {
    let plain = match after.first()? {
        b'n' => '\n',
        b't' => '\t',
        b'r' => '\r',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        mark @ (b'"' | b'\\' | b'/') => char::from(*mark),
        b'u' => return unicode_escape(after),
        _ => return None,
    };
    Some((plain, 1))
}

fn unicode_escape(after: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = after.get(at..at + 5).filter(|all| all[0] == b'u')?[1..].iter();
        digits.copied().try_fold(0, |unit, digit| Some(unit << 4 | char::from(digit).to_digit(16)?))
    };
    let first = unit(0)?;
    if let Some(plain) = char::from_u32(first) {
        return Some((plain, 5));
    }
    let second = unit(6).filter(|low| after.get(5) == Some(&b'\\') && (0xdc00..0xe000).contains(low))?;
    let high = first.checked_sub(0xd800).filter(|high| *high < 0x400)?;
    Some((char::from_u32(0x10000 + (high << 10 | (second - 0xdc00)))?, 11))
}

fn percent_escape(at: &[u8]) -> Option<(char, usize)> {
    let digit = |place: usize| char::from(*at.get(place)?).to_digit(16);
    Some((char::from(u8::try_from(digit(1)? << 4 | digit(2)?).ok()?), 3))
}

/// Where the next of some marks is. Where there is one more come soon, so that those near are looked at one by one: to begin a search
/// anew for each costs more than all else.
fn next_mark(text: &[u8], is_mark: impl Fn(&u8) -> bool, far: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
    const NEAR: usize = 32;
    let (near, beyond) = text.split_at(text.len().min(NEAR));
    near.iter().position(is_mark).or_else(|| Some(near.len() + far(beyond)?))
}

/// Where the next quote may be.
fn next_quote(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let is_quote = |byte: &u8| matches!(byte, b'\'' | b'"' | b'&');
        at += next_mark(&text[at..], is_quote, |far| memchr3(b'\'', b'"', b'&', far))?;
        match &text[at..] {
            [b'&', ..] | [b'\'', b'\'' | b'"' | b'\\', ..] | [b'"', b'"', ..] => return Some(at),
            _ => at += 1,
        }
    }
}

/// A quote inside quotes: doubled, or in the shell's ways of ending what is quoted, writing it, and going on.
fn quote(at: &[u8]) -> Option<(char, usize)> {
    match at {
        [b'\'', b'"', b'\'', b'"', b'\'', ..] => Some(('\'', 5)),
        [b'\'', b'\\', b'\'', b'\'', ..] => Some(('\'', 4)),
        [b'\'', b'\'', ..] => Some(('\'', 2)),
        [b'"', b'"', ..] => Some(('"', 2)),
        _ => None,
    }
}

/// An entity of XML, or one by its number.
fn entity(at: &[u8]) -> Option<(char, usize)> {
    const LONGEST: usize = "&#1114111;".len();
    let inner = at.strip_prefix(b"&")?;
    let end = inner.iter().take(LONGEST - 1).position(|byte| *byte == b';')?;
    let name = std::str::from_utf8(&inner[..end]).ok()?;
    let number = |digits: &str, radix| {
        let digits = Some(digits).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        u32::from_str_radix(digits, radix).ok().and_then(char::from_u32)
    };
    let what = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => match name.strip_prefix('#')? {
            hexadecimal if hexadecimal.starts_with(['x', 'X']) => number(&hexadecimal[1..], 16)?,
            decimal => number(decimal, 10)?,
        },
    };
    Some((what, end + 2))
}

/// Without the blanks that lines begin with and carriage returns: a key as YAML indents it. None: there are none.
pub fn dedented(text: &[u8]) -> Option<Vec<u8>> {
    let is_blank = |byte: &&u8| matches!(**byte, b' ' | b'\t' | b'\r');
    let (mut out, mut at, mut copied) = (Vec::new(), 0, 0);
    while let Some(end) = next_line_end(&text[at..]) {
        at += end;
        let (kept, blanks) = match text[at] {
            b'\n' => (at + 1, text[at + 1..].iter().take_while(is_blank).count()),
            _ => (at, 1),
        };
        at = kept + blanks;
        if blanks > 0 {
            if copied == 0 {
                out.reserve(text.len());
            }
            out.extend_from_slice(&text[copied..kept]);
            copied = at;
        }
    }
    if copied == 0 {
        return None;
    }
    out.extend_from_slice(&text[copied..]);
    Some(out)
}

/// Where the next line ends, or a carriage return stands.
fn next_line_end(text: &[u8]) -> Option<usize> {
    next_mark(text, |byte| matches!(byte, b'\n' | b'\r'), |far| memchr2(b'\n', b'\r', far))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    fn found(text: &str) -> Vec<&str> {
        runs(text.as_bytes(), &Effort::default()).map(|run| &text[run.at]).collect()
    }

    #[test]
    fn runs_of_base64() {
        let long = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=";
        let digits = long.trim_end_matches('=');
        assert_eq!(found(long), [digits]);
        assert_eq!(found(&format!("token: \"{long}\", other: {long}")), [digits, digits]);
        assert_eq!(
            found("QUJDREVGR0hJSktMT\r\n  U5PUFFSU1RVV\nldYWVo= x"),
            ["QUJDREVGR0hJSktMT\r\n  U5PUFFSU1RVV\nldYWVo"]
        );
        assert_eq!(found("the quick brown fox, and short\nones"), [] as [&str; 0]);
        assert_eq!(found(""), [] as [&str; 0]);
        assert_eq!(found(&format!("{digits}\n \n")), [digits]);
    }

    #[test]
    fn text_in_what_may_be_anything() {
        let found = |bytes: &[u8]| {
            texts(bytes, true, &Effort::default())
                .map(|part| String::from_utf8_lossy(part).into_owned())
                .collect::<Vec<_>>()
        };
        let text = "name: 'it''s \u{e9}t\u{e9}'\n";
        assert_eq!(found(text.as_bytes()), [text]);
        assert_eq!(found(&[b"\xfe\0", text.as_bytes(), b"\x01\xc0"].concat()), [text], "glued to what is none");
        assert_eq!(found(b"no quote is in this text, nor an end"), [] as [&str; 0]);
        assert_eq!(found(b"'short'\0'short'\0'short'\0"), [] as [&str; 0]);
    }

    #[test]
    fn escapes_are_undone() {
        let undone = |text: &str| {
            Unescaped::of(text.as_bytes(), &Effort::default())
                .map(|all| String::from_utf8_lossy(&all.text).into_owned())
        };
        for (text, expected) in [
            (r#"a\nb\"c\\d\/e\u0041\ud83d\ude00"#, Some("a\nb\"c\\d/eA😀")),
            (r"a\x \ud83d \u12", None),
            ("p%40ss%2Fword%", Some("p@ss/word%")),
            ("100%, %zz", None),
            (r"\n%41", Some("\n%41")),
            ("plain", None),
            ("%C3%A5", Some("å")),
        ] {
            assert_eq!(undone(text).as_deref(), expected, "{text}");
        }
        let undone = Unescaped::of(br"ab\ncd", &Effort::default()).unwrap();
        assert!(undone.changed_in(&(0..3)) && !undone.changed_in(&(0..2)) && !undone.changed_in(&(3..5)));
    }

    #[test]
    fn quotes_and_entities_are_undone() {
        let undone = |text: &str| {
            Unescaped::quoted(text.as_bytes(), &Effort::default())
                .map(|all| String::from_utf8_lossy(&all.text).into_owned())
        };
        for (text, expected) in [
            ("'it''s'", Some("'it's'")),
            (r#""a ""b"" c""#, Some(r#""a "b" c""#)),
            (r"'it'\''s'", Some("'it's'")),
            (r#"'it'"'"'s'"#, Some("'it's'")),
            ("a &amp; b &lt;&gt; &quot;&apos;", Some("a & b <> \"'")),
            ("&#39;&#x27;&#X1F600;&#1114111;", Some("''😀\u{10ffff}")),
            ("&amp;lt;", Some("&lt;")),
            ("&nbsp; &; &#; &#x; &#xd800; &#+9; &amp", None),
            ("it's \"plain\" & so on", None),
        ] {
            assert_eq!(undone(text).as_deref(), expected, "{text}");
        }
        let form = |text: &str| {
            Unescaped::form(text.as_bytes(), &Effort::default())
                .map(|all| String::from_utf8_lossy(&all.text).into_owned())
        };
        assert_eq!(
            form("p=a+phrase/of%26c%2Bd&q=5%25; x+y and: 'one+that+is~long:enough'").as_deref(),
            Some("a phrase/of&c+d\0'one that is~long:enough'")
        );
        assert_eq!(form("all+of+it+and+no+more").as_deref(), Some("all of it and no more"));
        assert_eq!((form("p=a%26phrase%20of%2Bd"), form("plain")), (None, None), "no blank");
        assert_eq!(form(&"A+/9".repeat(300)), None, "base64");
    }

    #[test]
    fn indentation_goes() {
        assert_eq!(dedented(b"key: |\r\n  a\n  b c\n\td\n").as_deref(), Some(&b"key: |\na\nb c\nd\n"[..]));
        assert_eq!(dedented(b"a b\nc"), None);
    }

    proptest! {
        #[test]
        fn text_is_all_that_is_utf8(parts in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..9),
            "[a-z'&\n]{0,40}".prop_map(String::into_bytes),
            "[éß€%x]{0,12}".prop_map(String::into_bytes),
        ], 0..12)) {
            let bytes = parts.concat();
            let divided = bytes.split(|byte| !IN_TEXT[usize::from(*byte)]);
            let valid = divided.flat_map(<[u8]>::utf8_chunks).map(|chunk| chunk.valid().as_bytes());
            let expected: Vec<&[u8]> = valid.filter(|part| part.len() >= WINDOW && has_marks(part)).collect();
            let effort = Effort::default();
            prop_assert_eq!(texts(&bytes, false, &effort).collect::<Vec<_>>(), expected);
        }

        #[test]
        fn base64_is_read_at_its_alignment(value in prop::collection::vec(any::<u8>(), 17..80), url in any::<bool>()) {
            let text = if url { URL_SAFE_NO_PAD.encode(&value) } else { STANDARD.encode(&value) };
            let run = runs(text.as_bytes(), &Effort::default()).next().unwrap();
            let (mut runs, mut read) = (Runs::default(), Vec::new());
            runs.take(format!("{text}; {text}").as_bytes(), &|_| true, &Effort::default());
            runs.read(0, &mut read);
            prop_assert_eq!(&read, &[&value[..], &[0]].concat().repeat(2));
            let each: Vec<u8> = text.as_bytes()[run.at].iter().flat_map(|d| (0..6).rev().map(|n| DIGITS[usize::from(*d)] >> n & 1)).collect();
            for without in 1..4 {
                let bytes = each[6 * without..].as_chunks::<8>().0.iter();
                let expected: Vec<u8> = bytes.map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | bit)).collect();
                runs.read(without, &mut read);
                prop_assert_eq!(&read, &[&expected[..], &[0]].concat().repeat(2));
                prop_assert!(runs.parts(without).all(|part| read[part] == expected) && runs.parts(without).count() == 2);
            }
        }

        #[test]
        fn nothing_panics_or_grows(bytes in prop::collection::vec(any::<u8>(), 0..400), text in r"[\\%u0-9a-fA-F\n\r ]{0,80}", quotes in r#"['"\\&#x;+%0-9ampltgquos]{0,80}"#) {
            for input in [&bytes[..], text.as_bytes(), quotes.as_bytes()] {
                let (mut runs, mut read) = (Runs::default(), Vec::new());
                runs.take(input, &|_| true, &Effort::default());
                for without in 0..4 {
                    runs.read(without, &mut read);
                    assert!(read.len() <= input.len());
                }
                prop_assert!(Unescaped::of(input, &Effort::default()).is_none_or(|undone| undone.text.len() < input.len()));
                prop_assert!(Unescaped::quoted(input, &Effort::default()).is_none_or(|undone| undone.text.len() < input.len()));
                prop_assert!(Unescaped::form(input, &Effort::default()).is_none_or(|undone| undone.text.len() <= input.len()));
                prop_assert!(dedented(input).is_none_or(|plain| plain.len() < input.len()));
            }
        }
    }
}
