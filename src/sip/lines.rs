//! The lines of a header section, as both the scanner and the stream framer see them.
//!
//! Prevents that the two disagree where a line ends, which is how a second message hides in a first. Never looks
//! at a value, but for Content-Length.

use super::grammar::{is_lws, number, token_len, trim};

/// A logical line of the header block: folds belong to it (RFC 3261 §7.3.1).
pub struct Line<'a> {
    pub text: &'a [u8],
    /// Of `text` in the block.
    pub at: usize,
    /// A CR or LF stands in it that ends no line. Others may take it for a line end, so the message is refused.
    pub bare: bool,
}

/// Splits a header block into its lines, as both the scanner and the stream framer see them.
pub struct Lines<'a> {
    pub head: &'a [u8],
    pub at: usize,
}

impl<'a> Lines<'a> {
    /// The next line; an empty one ends the block. `None`: the block ends without one.
    pub fn next(&mut self) -> Option<Line<'a>> {
        let from = self.at;
        let mut at = from;
        let mut bare = false;
        loop {
            let hit = at + memchr::memchr2(b'\r', b'\n', &self.head[at..])?;
            at = hit + 1;
            if self.head[hit] != b'\r' || self.head.get(at) != Some(&b'\n') {
                bare = true;
                continue;
            }
            at += 1;
            let folded = matches!(self.head.get(at), Some(b' ' | b'\t'));
            if folded && hit > from {
                continue;
            }
            self.at = at;
            return Some(Line { text: &self.head[from..hit], at: from, bare });
        }
    }
}

/// A header line as name and value, both trimmed, and where the value starts in the line.
///
/// White space before the colon is legal (RFC 4475 §3.1.1.1); any other character that is not of a token is not.
pub fn split_row(line: &[u8]) -> Result<(&[u8], &[u8], usize), &'static str> {
    let end = token_len(line);
    let spaces = line[end..].iter().take_while(|c| matches!(**c, b' ' | b'\t')).count();
    let colon = end + spaces;
    if end == 0 || end > u8::MAX as usize || line.get(colon) != Some(&b':') {
        return Err("Bad Header Line");
    }
    let raw = &line[colon + 1..];
    let value = trim(raw);
    let lead = raw.iter().take_while(|c| is_lws(**c)).count();
    Ok((&line[..end], value, colon + 1 + lead.min(raw.len() - value.len())))
}

/// The value of one Content-Length row. Above 2^31 − 1 it is refused, never wrapped.
pub fn content_length(value: &[u8]) -> Result<usize, &'static str> {
    match number(value) {
        Ok(n) if n <= i32::MAX as u32 => Ok(n as usize),
        _ => Err("Bad Content-Length"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fold_belongs_to_its_line_and_a_body_does_not() {
        let mut lines = Lines { head: b"a: 1\r\n 2\r\n\t\r\nb\n:\r\n\r\n x\r\n", at: 0 };
        let mut seen = Vec::new();
        while let Some(line) = lines.next() {
            seen.push((line.text, line.at, line.bare));
            if line.text.is_empty() {
                break;
            }
        }
        let expected: [(&[u8], usize, bool); 3] =
            [(b"a: 1\r\n 2\r\n\t", 0, false), (b"b\n:", 13, true), (b"", 18, false)];
        assert_eq!(seen, expected);
        assert_eq!(&lines.head[lines.at..], b" x\r\n");
        assert!(Lines { head: b"a: 1\r", at: 0 }.next().is_none());
    }

    #[test]
    fn names_end_at_the_colon_and_values_are_trimmed() {
        assert_eq!(split_row(b"To \t:\r\n  x  "), Ok((&b"To"[..], &b"x"[..], 9)));
        assert_eq!(split_row(b"s:"), Ok((&b"s"[..], &b""[..], 2)));
        assert_eq!(split_row(b"s:  "), Ok((&b"s"[..], &b""[..], 4)));
        for line in [&b"To\x01: x"[..], b"To\x0b: x", b"To\r\n : x", b": x", b"To", b"To x: y", b" To: x"] {
            assert!(split_row(line).is_err(), "{line:?}");
        }
        assert!(split_row(&[&[b'x'; 256][..], b": y"].concat()).is_err());
    }

    #[test]
    fn a_length_is_digits_and_fits() {
        assert_eq!(content_length(b"0150"), Ok(150));
        for value in [&b"2147483648"[..], b"+5", b"-1", b"1 2", b"0x10", b"", b"18446744073709551621"] {
            assert!(content_length(value).is_err(), "{value:?}");
        }
    }
}
