//! Bytes of a file, one after the other, with a look at the next one.
//!
//! Prevents that a file is held in memory as a whole. Never goes back.

use std::io::{self, BufRead, ErrorKind};

pub(super) struct Bytes<R> {
    inner: R,
}

impl<R: BufRead> Bytes<R> {
    pub(super) fn new(inner: R) -> Bytes<R> {
        Bytes { inner }
    }

    /// The next byte, which stays.
    pub(super) fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.inner.fill_buf() {
                Ok(held) => return Ok(held.first().copied()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn next(&mut self) -> io::Result<Option<u8>> {
        let next = self.peek()?;
        if next.is_some() {
            self.inner.consume(1);
        }
        Ok(next)
    }

    /// Takes the next byte if it is this one.
    pub(super) fn take(&mut self, wanted: u8) -> io::Result<bool> {
        let found = self.peek()? == Some(wanted);
        if found {
            self.inner.consume(1);
        }
        Ok(found)
    }

    /// Up to the line feed, which goes too, and a carriage return before it. `None` at the end of the file. A line
    /// longer than `most` is taken whole, and its end is lost.
    pub(super) fn line(&mut self, most: usize) -> io::Result<Option<Line>> {
        let mut line = Line::default();
        if self.peek()?.is_none() {
            return Ok(None);
        }
        while let Some(byte) = self.next()? {
            match byte {
                b'\n' => break,
                byte if line.text.len() < most => line.text.push(byte),
                _ => line.cut = true,
            }
        }
        if line.text.last() == Some(&b'\r') {
            line.text.pop();
        }
        Ok(Some(line))
    }
}

#[derive(Default)]
pub(super) struct Line {
    pub(super) text: Vec<u8>,
    /// It was longer.
    pub(super) cut: bool,
}
