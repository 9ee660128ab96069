//! What a body is, by its Content-Type alone.
//!
//! Prevents that a typing notice or a receipt is shown as text, stored, or taken for a command (spec §4).
//! Never looks into the body.

/// What a body is good for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Content {
    /// Text/plain in any charset; also a body without Content-Type. Commands and the author's prefix belong here alone.
    Plain,
    /// Somebody is typing (RFC 3994 §3.1).
    Composing,
    /// A receipt: delivered, displayed, processed (RFC 5438 §11.1).
    Imdn,
    /// A message with its own headers (RFC 3862 §2).
    Cpim,
    /// Several bodies (RFC 5621 §3).
    Multipart,
    Html,
    Other,
}

impl Content {
    /// Sent by a machine, not by a person: never answered by words, stored, or fanned out as text (RFC 3994 §4).
    pub fn is_automatic(self) -> bool {
        matches!(self, Content::Composing | Content::Imdn)
    }
}

const TYPES: &[(&str, Content)] = &[
    ("text/plain", Content::Plain),
    ("application/im-iscomposing+xml", Content::Composing),
    ("message/imdn+xml", Content::Imdn),
    ("message/cpim", Content::Cpim),
    ("text/html", Content::Html),
    ("application/xhtml+xml", Content::Html),
];

/// Reads the value of Content-Type; `None` and an empty value are [`Content::Plain`].
///
/// Parameters do not matter; type and subtype are compared without case, blanks around the slash are allowed
/// (RFC 3261 §25.1, `m-type SLASH m-subtype`).
pub fn content(content_type: Option<&str>) -> Content {
    let Some(value) = content_type.map(str::trim).filter(|value| !value.is_empty()) else {
        return Content::Plain;
    };
    let media = value.split_once(';').map_or(value, |(media, _)| media);
    let Some((kind, subtype)) = media.split_once('/') else { return Content::Other };
    let (kind, subtype) = (kind.trim(), subtype.trim());
    if kind.eq_ignore_ascii_case("multipart") && !subtype.is_empty() {
        return Content::Multipart;
    }
    let known = TYPES.iter().find(|(name, _)| {
        name.split_once('/')
            .is_some_and(|(k, s)| k.eq_ignore_ascii_case(kind) && s.eq_ignore_ascii_case(subtype))
    });
    known.map_or(Content::Other, |&(_, content)| content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_is_known_by_its_media_type_alone() {
        let cases: &[(Option<&str>, Content)] = &[
            (None, Content::Plain),
            (Some(""), Content::Plain),
            (Some("  "), Content::Plain),
            (Some("text/plain"), Content::Plain),
            (Some("Text/Plain; charset=\"ISO-8859-1\""), Content::Plain),
            (Some("text / plain ;charset=utf-8"), Content::Plain),
            (Some("application/im-iscomposing+xml"), Content::Composing),
            (Some("APPLICATION/im-iscomposing+XML;charset=utf-8"), Content::Composing),
            (Some("message/imdn+xml"), Content::Imdn),
            (Some("message/cpim"), Content::Cpim),
            (Some("Message/CPIM;x=y"), Content::Cpim),
            (Some("multipart/mixed;boundary=\"a;b\""), Content::Multipart),
            (Some("multipart/related"), Content::Multipart),
            (Some("multipart/"), Content::Other),
            (Some("text/html"), Content::Html),
            (Some("application/xhtml+xml"), Content::Html),
            (Some("image/png"), Content::Other),
            (Some("text/plainer"), Content::Other),
            (Some("text"), Content::Other),
            (Some(";text/plain"), Content::Other),
            (Some("application/vnd.gsma.rcs-ft-http+xml"), Content::Other),
        ];
        for (value, wanted) in cases {
            assert_eq!(content(*value), *wanted, "{value:?}");
        }
    }

    #[test]
    fn only_typing_and_receipts_are_automatic() {
        let automatic = [Content::Composing, Content::Imdn];
        for kind in TYPES.iter().map(|t| t.1).chain([Content::Multipart, Content::Other]) {
            assert_eq!(kind.is_automatic(), automatic.contains(&kind), "{kind:?}");
        }
    }
}
