//! JSON whose fields keep their order, compact or as Kamailio's cJSON prints it.
//!
//! Prevents that scripts which read the peers' answers by eye, `grep` or `awk` find them otherwise than they are used
//! to. Never reads JSON.

use std::io::{self, Write};

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use serde_json::ser::Formatter;

/// A document to be written.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Json {
    Value(Value),
    List(Vec<Json>),
    Fields(Vec<(String, Json)>),
}

impl<T: Into<Value>> From<T> for Json {
    fn from(value: T) -> Json {
        Json::Value(value.into())
    }
}

impl Json {
    pub fn fields<const N: usize>(fields: [(&str, Json); N]) -> Json {
        Json::Fields(fields.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// `columns` come first, in their order.
    pub fn ordered(value: Value, columns: &[&str]) -> Json {
        match value {
            Value::Array(list) => Json::List(list.into_iter().map(|v| Json::ordered(v, columns)).collect()),
            Value::Object(map) => {
                let place = |name: &str| columns.iter().position(|c| *c == name).unwrap_or(columns.len());
                let mut fields: Vec<_> = map.into_iter().collect();
                fields.sort_by_key(|(name, _)| place(name));
                Json::Fields(fields.into_iter().map(|(n, v)| (n, Json::ordered(v, &[]))).collect())
            }
            scalar => Json::Value(scalar),
        }
    }

    /// One line without spaces, as OpenSIPS writes it.
    pub fn compact(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// As Kamailio writes it: tabs, fields on lines of their own, list items side by side.
    pub fn pretty(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = serde_json::Serializer::with_formatter(&mut out, CJson::default());
        // Writing into memory does not fail.
        let _ = self.serialize(&mut writer);
        out
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Value(value) => value.serialize(serializer),
            Json::List(list) => list.serialize(serializer),
            Json::Fields(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

/// The layout of cJSON as Kamailio 5 has it.
#[derive(Default)]
struct CJson {
    depth: usize,
}

impl CJson {
    fn line<W: ?Sized + Write>(&self, out: &mut W) -> io::Result<()> {
        out.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| out.write_all(b"\t"))
    }
}

impl Formatter for CJson {
    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.depth += 1;
        out.write_all(b"[")
    }
    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.depth -= 1;
        out.write_all(b"]")
    }
    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }
    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.depth += 1;
        out.write_all(b"{")
    }
    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.depth -= 1;
        self.line(out)?;
        out.write_all(b"}")
    }
    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if !first {
            out.write_all(b",")?;
        }
        self.line(out)
    }
    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b":\t")
    }
}
