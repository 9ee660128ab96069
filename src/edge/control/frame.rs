//! Where one JSON document ends and the next begins, in a stream of them back to back.
//!
//! Prevents that a client must close its connection, or send lines, to be understood; and that it may send
//! without end. Never parses: a document that is none goes on as a line, to be answered as an error.

/// Longest document, in bytes.
pub const MAX_DOCUMENT: usize = 1 << 20;

/// The document, or what precedes its end, is longer than [`MAX_DOCUMENT`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLong;

/// Collects bytes, gives documents.
#[derive(Default)]
pub struct Frames {
    buffer: Vec<u8>,
    /// How far `buffer` has been looked at, and what was found up to there.
    seen: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Frames {
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole document; `None`: not yet.
    pub fn next_document(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        if self.seen == 0 {
            let blank = self.buffer.iter().take_while(|b| b.is_ascii_whitespace()).count();
            self.buffer.drain(..blank);
        }
        let Some(first) = self.buffer.first() else { return Ok(None) };
        let braced = matches!(first, b'{' | b'[');
        while let Some(&byte) = self.buffer.get(self.seen) {
            self.seen += 1;
            let ends = if braced { self.closes(byte) } else { byte == b'\n' };
            if ends {
                return Ok(Some(self.take()));
            }
            if self.seen > MAX_DOCUMENT {
                return Err(TooLong);
            }
        }
        Ok(None)
    }

    /// What is left when the stream ends: a document without its end, or nothing.
    pub fn rest(&mut self) -> Option<Vec<u8>> {
        self.seen = self.buffer.len();
        let rest = self.take();
        (!rest.trim_ascii().is_empty()).then_some(rest)
    }

    fn take(&mut self) -> Vec<u8> {
        let rest = self.buffer.split_off(self.seen);
        let document = std::mem::replace(&mut self.buffer, rest);
        (self.seen, self.depth, self.in_string, self.escaped) = (0, 0, false, false);
        document
    }

    fn closes(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        self.depth == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(frames: &mut Frames) -> Vec<String> {
        std::iter::from_fn(|| frames.next_document().unwrap())
            .map(|d| String::from_utf8(d).unwrap())
            .collect()
    }

    #[test]
    fn documents_are_told_apart_however_the_bytes_come() {
        let text = " {\"a\":\"}\\\"{\"}{\"b\":[1,{}]}\n\n[{}]garbage\n{\n\"c\":1\n}\n{\"open";
        let expected =
            ["{\"a\":\"}\\\"{\"}", "{\"b\":[1,{}]}", "[{}]", "garbage\n", "{\n\"c\":1\n}"].map(String::from);
        let mut at_once = Frames::default();
        at_once.push(text.as_bytes());
        assert_eq!(all(&mut at_once), expected);
        assert_eq!(at_once.rest().as_deref(), Some(&b"{\"open"[..]));
        assert_eq!(at_once.rest(), None);

        let mut by_byte = Frames::default();
        let mut got = Vec::new();
        for byte in text.as_bytes() {
            by_byte.push(&[*byte]);
            got.extend(all(&mut by_byte));
        }
        assert_eq!(got, expected);
    }

    #[test]
    fn a_document_without_end_is_cut_off() {
        for first in [b'{', b'x'] {
            let mut frames = Frames::default();
            frames.push(&vec![first; MAX_DOCUMENT]);
            assert_eq!(frames.next_document(), Ok(None));
            frames.push(&[first]);
            assert_eq!(frames.next_document(), Err(TooLong));
        }
    }
}
