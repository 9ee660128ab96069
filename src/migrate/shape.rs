//! Files that are often taken for SQL, by how they begin.
//!
//! Prevents that a dump of the wrong kind is told to hold no table: what to do about it is said instead. Never reads on.

/// Where in a file it stands, what stands there, and what to tell.
type Shape = (usize, &'static [u8], &'static str);

const COMPRESSED: &str = "it is compressed: unpack it first";
const ARCHIVE: &str = "it is an archive of pg_dump: pg_restore -f FILE makes SQL of it";
const UTF_16: &str = "it is in UTF-16: iconv -f UTF-16 -t UTF-8 makes it readable";

const SHAPES: &[Shape] = &[
    (0, b"\x1f\x8b", COMPRESSED),
    (0, b"\xfd7zXZ", COMPRESSED),
    (0, b"\x28\xb5\x2f\xfd", COMPRESSED),
    (0, b"BZh", COMPRESSED),
    (0, b"PK\x03\x04", COMPRESSED),
    (0, b"PGDMP", ARCHIVE),
    (257, b"ustar", ARCHIVE),
    (0, b"\xff\xfe", UTF_16),
    (0, b"\xfe\xff", UTF_16),
    (0, b"<?xml", "it is XML: dump it again without --xml"),
    (0, b"SQLite format 3\0", "it is a database of SQLite: say sqlite: before its path"),
];

/// What is to be told of a file that begins with `first`; `None`: nothing speaks against its being SQL.
pub(super) fn foreign_shape(first: &[u8]) -> Option<&'static str> {
    let is = |(at, mark, _): &&Shape| first.get(*at..).is_some_and(|there| there.starts_with(mark));
    SHAPES.iter().find(is).map(|(.., told)| *told)
}
