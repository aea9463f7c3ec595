//! Bytes as text in UTF-8.

use std::io::{BufRead, Read};

use super::input::Input;
use crate::error::{Error, Result};

const UTF_8_MARK: &[u8] = &[0xef, 0xbb, 0xbf];
/// Byte order marks of encodings that are not read. That of UTF-32 begins like one of UTF-16.
const FOREIGN_MARKS: [(&[u8], &str); 4] = [
    (&[0xff, 0xfe, 0, 0], "UTF-32"),
    (&[0, 0, 0xfe, 0xff], "UTF-32"),
    (&[0xff, 0xfe], "UTF-16"),
    (&[0xfe, 0xff], "UTF-16"),
];

/// Where in a text reading has come to.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Number of the line, from 1.
    line: usize,
    /// Offset of the line's first byte.
    line_start: u64,
    /// Offset of the next byte, byte order mark and all that was read before included.
    offset: u64,
}

impl Place {
    const START: Self = Self { line: 1, line_start: 0, offset: 0 };

    /// Goes on behind `bytes`.
    fn pass(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.iter().rposition(|&byte| byte == b'\n') {
            self.line += bytes.iter().filter(|&&byte| byte == b'\n').count();
            self.line_start = self.offset + last as u64 + 1;
        }
        self.offset += bytes.len() as u64;
    }

    /// Takes the byte order mark off the first bytes of a text and refuses other encodings than UTF-8.
    fn begin(&mut self, input: &Input, bytes: &mut Vec<u8>) -> Result<()> {
        if bytes.starts_with(UTF_8_MARK) {
            bytes.drain(..UTF_8_MARK.len());
            self.offset = UTF_8_MARK.len() as u64;
            return Ok(());
        }
        let marked = FOREIGN_MARKS.iter().find(|(mark, _)| bytes.starts_with(mark)).map(|(_, name)| *name);
        // Without a mark the zeros beside the first two characters give it away, if they are ASCII.
        let unmarked = matches!(bytes[..], [a, 0, b, 0, ..] | [0, a, 0, b, ..] if a != 0 && b != 0);
        match marked.or(unmarked.then_some("UTF-16")) {
            Some(name) => Err(Error::data(input.name(), format!("text in {name}: convert it to UTF-8"))),
            None => Ok(()),
        }
    }

    /// The text that `bytes` at this place are.
    fn decode<'a>(&self, input: &Input, bytes: &'a [u8]) -> Result<&'a str> {
        std::str::from_utf8(bytes).map_err(|error| {
            let mut place = *self;
            place.pass(&bytes[..error.valid_up_to()]);
            let reason = format!(
                "line {}: not UTF-8 at byte {} of the line (byte offset {} of the text): convert it to UTF-8",
                place.line,
                place.offset - place.line_start + 1,
                place.offset,
            );
            Error::data(input.name(), reason)
        })
    }

    /// As [`decode`](Self::decode), of bytes to keep.
    fn owned(&self, input: &Input, bytes: Vec<u8>) -> Result<String> {
        String::from_utf8(bytes).or_else(|error| self.decode(input, error.as_bytes()).map(ToOwned::to_owned))
    }
}

/// The lines of a text in UTF-8, read as they are asked for. A byte order mark at the beginning is left out.
#[derive(Debug)]
pub struct Lines {
    input: Input,
    longest: usize,
    /// The line last given.
    bytes: Vec<u8>,
    /// Where it begins.
    place: Place,
}

impl Lines {
    pub(super) fn new(input: Input, longest: usize) -> Self {
        Self { input, longest, bytes: Vec::new(), place: Place::START }
    }

    /// The next line, without the `\n` or `\r\n` that ends it; `None` behind the last one.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] that names the input, and the line where one is at fault, for one that is too long or not UTF-8,
    /// for text in UTF-16 or UTF-32, and for damaged compression; [`Error::Io`] if the system refuses to read.
    pub fn next_line(&mut self) -> Result<Option<&str>> {
        self.place.pass(&self.bytes);
        self.bytes.clear();
        let most = (self.longest as u64).saturating_add(1);
        let read = (&mut self.input).take(most).read_until(b'\n', &mut self.bytes);
        if self.input.check(read)? == 0 {
            return Ok(None);
        }
        if self.place.offset == 0 {
            self.place.begin(&self.input, &mut self.bytes)?;
            if self.bytes.is_empty() {
                return Ok(None);
            }
        }
        if self.bytes.len() > self.longest {
            return Err(self.error(format!("longer than {} bytes", self.longest)));
        }
        let line = self.place.decode(&self.input, &self.bytes)?;
        Ok(Some(line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line))))
    }

    /// Number of the line last given, from 1.
    #[must_use]
    pub fn number(&self) -> usize {
        self.place.line
    }

    /// An error about the line last given, which it names.
    #[must_use]
    pub fn error(&self, reason: impl std::fmt::Display) -> Error {
        Error::data(self.input.name(), format!("line {}: {reason}", self.number()))
    }
}

impl Input {
    /// The whole of a text in UTF-8 of `most` bytes at most, without a byte order mark.
    ///
    /// # Errors
    ///
    /// As [`Lines::next_line`]; [`Error::Data`] for a text that is longer than `most`, before more than that is read.
    pub fn text(mut self, most: usize) -> Result<String> {
        let mut bytes = Vec::new();
        let read = self.by_ref().take((most as u64).saturating_add(1)).read_to_end(&mut bytes);
        self.check(read)?;
        if bytes.len() > most {
            return Err(Error::data(self.name(), format!("longer than {most} bytes, the most that is read")));
        }
        let mut place = Place::START;
        place.begin(&self, &mut bytes)?;
        place.owned(&self, bytes)
    }
}

/// A text in chunks, whatever the length of its lines.
#[cfg(feature = "text")]
#[derive(Debug)]
pub(crate) struct Chunks {
    input: Input,
    /// How many bytes are read at a time; a chunk has about twice as many.
    size: usize,
    /// What has been read and not given.
    rest: Vec<u8>,
    place: Place,
    ended: bool,
}

#[cfg(feature = "text")]
impl Chunks {
    pub(crate) fn new(input: Input, size: usize) -> Self {
        Self { input, size, rest: Vec::new(), place: Place::START, ended: false }
    }

    /// The text up to the end of a line, or else of a word, or of a character; `None` behind the end.
    pub(crate) fn next_chunk(&mut self) -> Result<Option<String>> {
        while !self.ended && self.rest.len() < 2 * self.size {
            let first = self.place.offset == 0 && self.rest.is_empty();
            let read = (&mut self.input).take(self.size as u64).read_to_end(&mut self.rest);
            self.ended = self.input.check(read)? == 0;
            if first {
                self.place.begin(&self.input, &mut self.rest)?;
            }
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let mut length = self.rest.len();
        if !self.ended {
            let last = |wanted: u8| self.rest.iter().rposition(|&byte| byte == wanted).filter(|&at| at > 0);
            let character = || self.rest.iter().rposition(|&byte| byte & 0xc0 != 0x80).filter(|&at| at > 0);
            length = last(b'\n').map(|at| at + 1).or_else(|| last(b' ')).or_else(character).unwrap_or(length);
        }
        let rest = self.rest.split_off(length);
        let text = self.place.owned(&self.input, std::mem::replace(&mut self.rest, rest))?;
        self.place.pass(text.as_bytes());
        Ok(Some(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], longest: usize) -> Result<Vec<String>> {
        let mut lines = Input::memory("text", bytes.to_vec())?.lines(longest);
        let mut all = Vec::new();
        while let Some(line) = lines.next_line()? {
            all.push(line.to_owned());
        }
        Ok(all)
    }

    #[test]
    fn lines_come_without_their_ends_and_text_without_its_byte_order_mark() {
        for (bytes, expected) in [
            (&b"one\ntwo\r\nthree"[..], vec!["one", "two", "three"]),
            (b"\xef\xbb\xbfone\n", vec!["one"]),
            (b"\n\r\n", vec!["", ""]),
            (b"a\rb\r", vec!["a\rb\r"]),
            (b"\xef\xbb\xbf", vec![]),
            (b"", vec![]),
            // A mark within a text is a character of it.
            (b"a\n\xef\xbb\xbfb", vec!["a", "\u{feff}b"]),
        ] {
            assert_eq!(all(bytes, 100).unwrap(), expected, "{bytes:?}");
        }
        assert_eq!(Input::memory("text", *b"\xef\xbb\xbfone\r\n").unwrap().text(8).unwrap(), "one\r\n");
    }

    #[test]
    fn other_encodings_are_named() {
        for (bytes, name) in [
            (&b"\xff\xfea\0\n\0"[..], "UTF-16"),
            (b"\xfe\xff\0a\0\n", "UTF-16"),
            (b"a\0b\0", "UTF-16"),
            (b"\0a\0b", "UTF-16"),
            (b"\xff\xfe\0\0a\0\0\0", "UTF-32"),
        ] {
            let expected = format!("text: text in {name}: convert it to UTF-8");
            assert_eq!(all(bytes, 100).unwrap_err().to_string(), expected);
            assert_eq!(Input::memory("text", bytes).unwrap().text(100).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_named_by_line_and_offset() {
        for (bytes, line, byte, offset) in
            [(&b"a\nb\nM\xe4dchen\n"[..], 3, 2, 5), (b"\xef\xbb\xbfab\xff", 1, 6, 5), (b"a\n\xc3", 2, 1, 2)]
        {
            let expected = format!(
                "text: line {line}: not UTF-8 at byte {byte} of the line (byte offset {offset} of the text): \
                 convert it to UTF-8"
            );
            assert_eq!(all(bytes, 100).unwrap_err().to_string(), expected);
            assert_eq!(Input::memory("text", bytes).unwrap().text(100).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_line_and_a_text_that_are_too_long_are_refused() {
        assert_eq!(all(b"1234\n123", 5).unwrap(), ["1234", "123"]);
        let error = all(b"1\n12345\n", 5).unwrap_err().to_string();
        assert_eq!(error, "text: line 2: longer than 5 bytes");
        assert!(Input::memory("text", *b"12345").unwrap().text(5).is_ok());
        let error = Input::memory("text", *b"123456").unwrap().text(5).unwrap_err().to_string();
        assert_eq!(error, "text: longer than 5 bytes, the most that is read");
    }

    #[cfg(feature = "text")]
    #[test]
    fn chunks_make_up_the_text_and_name_the_line_of_a_fault() {
        let text = "a line, é\n".repeat(50) + &"é".repeat(300) + "\nend";
        let mut chunks = Chunks::new(Input::memory("text", text.clone()).unwrap(), 64);
        let mut found = Vec::new();
        while let Some(chunk) = chunks.next_chunk().unwrap() {
            assert!(chunk.len() < 3 * 64);
            found.push(chunk);
        }
        assert!(found.len() > 5);
        assert_eq!(found.concat(), text);
        let bad = [text.as_bytes(), b"\nab\xff"].concat();
        let mut chunks = Chunks::new(Input::memory("text", bad).unwrap(), 64);
        let error = std::iter::repeat_with(|| chunks.next_chunk()).find_map(Result::err).unwrap().to_string();
        let offset = text.len() + 3;
        let place = format!("line 53: not UTF-8 at byte 3 of the line (byte offset {offset} of the text)");
        assert!(error.contains(&place), "{error}");
    }
}
