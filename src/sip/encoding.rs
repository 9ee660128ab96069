//! Content-Encoding (RFC 3261 §20.12): `identity` and `deflate`, which Linphone uses.
//!
//! Prevents that a few bytes become more than a body may have (conformance M11). Never packs: what leaves is plain.

use std::io::Read;

use flate2::read::{DeflateDecoder, ZlibDecoder};

/// What is understood, for Accept-Encoding.
pub const ACCEPTED: &str = "identity, deflate";

/// How a body is packed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    Identity,
    Deflate,
    /// Answered 415 with [`ACCEPTED`].
    Unknown,
}

/// Why a body was not unpacked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotUnpacked {
    Broken,
    /// It would be longer than `max`.
    TooLarge,
}

/// Reads the value of Content-Encoding; several encodings on top of each other are not understood.
pub fn encoding(value: &str) -> Encoding {
    match value.trim() {
        "" => Encoding::Identity,
        name if name.eq_ignore_ascii_case("identity") => Encoding::Identity,
        name if name.eq_ignore_ascii_case("deflate") => Encoding::Deflate,
        _ => Encoding::Unknown,
    }
}

/// Unpacks a deflated body to at most `max` bytes: with zlib's frame as the name says (RFC 2616 §3.5), or bare as
/// some send it.
pub fn inflate(body: &[u8], max: usize) -> Result<Vec<u8>, NotUnpacked> {
    match read(ZlibDecoder::new(body), max) {
        Err(NotUnpacked::Broken) => read(DeflateDecoder::new(body), max),
        done => done,
    }
}

fn read(unpacked: impl Read, max: usize) -> Result<Vec<u8>, NotUnpacked> {
    let mut out = Vec::new();
    // One byte more tells that there is more.
    match unpacked.take(max as u64 + 1).read_to_end(&mut out) {
        Ok(_) if out.len() > max => Err(NotUnpacked::TooLarge),
        Ok(_) => Ok(out),
        Err(_) => Err(NotUnpacked::Broken),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, ZlibEncoder};

    use super::*;

    #[test]
    fn both_forms_are_unpacked_and_nothing_grows_beyond_the_limit() {
        let text = b"hello hello hello hello".repeat(10);
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
        zlib.write_all(&text).unwrap();
        let mut bare = DeflateEncoder::new(Vec::new(), Compression::best());
        bare.write_all(&text).unwrap();
        for packed in [zlib.finish().unwrap(), bare.finish().unwrap()] {
            assert_eq!(inflate(&packed, text.len()).as_ref(), Ok(&text));
            assert_eq!(inflate(&packed, text.len() - 1), Err(NotUnpacked::TooLarge));
            assert!(inflate(&packed[..packed.len() / 2], 10_000) != Ok(text.clone()));
        }
        assert_eq!(inflate(b"no deflate at all", 100), Err(NotUnpacked::Broken));
    }

    #[test]
    fn encodings_are_known_by_name() {
        assert_eq!(encoding(" Deflate "), Encoding::Deflate);
        assert_eq!((encoding(""), encoding("IDENTITY")), (Encoding::Identity, Encoding::Identity));
        assert_eq!((encoding("gzip"), encoding("deflate, deflate")), (Encoding::Unknown, Encoding::Unknown));
    }
}
