//! Lines of a log of any size: one in memory, and no more of it than a line of the record can have.

use std::borrow::Cow;
use std::io::{self, BufRead};

/// Bytes of a line that are looked at. A line of the record has less than 16 KiB, at which container runtimes split; something may
/// stand before it.
const LONGEST: usize = 64 * 1024;

/// Reads lines.
pub struct Lines<R> {
    log: R,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// Of this log.
    pub fn new(log: R) -> Self {
        Self { log, line: Vec::new() }
    }

    /// Reads the next line; whether it is whole. None: there is none.
    pub fn next(&mut self) -> io::Result<Option<bool>> {
        self.line.clear();
        let (mut whole, mut any) = (true, false);
        loop {
            let bytes = match self.log.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if bytes.is_empty() {
                return Ok(any.then_some(whole));
            }
            any = true;
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let text = &bytes[..end.unwrap_or(bytes.len())];
            let room = LONGEST - self.line.len();
            whole &= text.len() <= room;
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            let used = end.map_or(text.len(), |end| end + 1);
            self.log.consume(used);
            if end.is_some() {
                return Ok(Some(whole));
            }
        }
    }

    /// The line, as far as it was read.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    #[test]
    fn lines_are_read_whole_or_their_beginning() {
        let long = "x".repeat(LONGEST + 1);
        let log = format!("a\n\n{long}\n{}\r\nlast", &long[1..]);
        for buffer in [1, 7, 1 << 16] {
            let mut lines = Lines::new(BufReader::with_capacity(buffer, log.as_bytes()));
            let mut read = Vec::new();
            while let Some(whole) = lines.next().unwrap() {
                read.push((lines.text().len(), whole));
            }
            assert_eq!(read, [(1, true), (0, true), (LONGEST, false), (LONGEST, false), (4, true)], "{buffer}");
        }
    }
}
