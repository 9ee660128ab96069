//! XML from outside as a small tree, and XML of ours as bytes.
//!
//! Prevents that a document costs more than its bytes: no DTD, no entities but the five, few levels, few nodes, each
//! namespace kept once. Prevents that what somebody typed becomes markup: whatever is written is escaped, and names come
//! from our code or from a document that was read. Never fetches anything, never follows a reference.

use std::fmt;
use std::sync::Arc;

use quick_xml::events::{BytesDecl, BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

pub mod writer;

pub use writer::Writer;

/// Namespaces that are written with a prefix of their own: phones such as baresip look for the very letters
/// `<rpid:away/>`.
pub const KNOWN: &[(&str, &str)] = &[
    (PIDF, "pidf"),
    (DATA_MODEL, "dm"),
    (RPID, "rpid"),
    (TIMED_STATUS, "ts"),
    (CIPID, "cipid"),
    (CAPS, "caps"),
    (LINPHONE_ONLINE, "pidfonline"),
    (LOCATION_TYPE, "lt"),
    (WATCHERINFO, "wi"),
    (RLMI, "rlmi"),
    (CONFERENCE, "conf"),
    (RESOURCE_LISTS, "rl"),
    (COPY_CONTROL, "cp"),
];
/// RFC 3863 §4.1.1.
pub const PIDF: &str = "urn:ietf:params:xml:ns:pidf";
/// RFC 4479 §5.
pub const DATA_MODEL: &str = "urn:ietf:params:xml:ns:pidf:data-model";
/// RFC 4480 §5.
pub const RPID: &str = "urn:ietf:params:xml:ns:pidf:rpid";
/// RFC 4481 §4.
pub const TIMED_STATUS: &str = "urn:ietf:params:xml:ns:pidf:timed-status";
/// RFC 4482 §5.
pub const CIPID: &str = "urn:ietf:params:xml:ns:pidf:cipid";
/// RFC 5196.
pub const CAPS: &str = "urn:ietf:params:xml:ns:pidf:caps";
pub const LINPHONE_ONLINE: &str = "http://www.linphone.org/xsds/pidfonline.xsd";
/// RFC 4589.
pub const LOCATION_TYPE: &str = "urn:ietf:params:xml:ns:location-type";
/// RFC 3858 §5.
pub const WATCHERINFO: &str = "urn:ietf:params:xml:ns:watcherinfo";
/// RFC 4662 §5.6.
pub const RLMI: &str = "urn:ietf:params:xml:ns:rlmi";
/// RFC 4575 §5.1.
pub const CONFERENCE: &str = "urn:ietf:params:xml:ns:conference-info";
/// RFC 4826 §3.2.
pub const RESOURCE_LISTS: &str = "urn:ietf:params:xml:ns:resource-lists";
/// RFC 5364 §6.
pub const COPY_CONTROL: &str = "urn:ietf:params:xml:ns:copycontrol";
/// Of `xml:lang`.
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// Of `xsi:type`, `xsi:schemaLocation`: talk to whoever validates.
pub const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// Elements within elements.
pub const DEPTH_MAX: usize = 16;
/// Elements, texts and attributes together.
pub const NODES_MAX: usize = 4096;
const ATTRIBUTES_MAX: usize = 64;
/// Namespaces of one document, and declarations in force at one place.
const NAMESPACES_MAX: usize = 64;
/// Bytes of a namespace's name, and of the name of an element or attribute.
const NAME_MAX: usize = 255;

/// Why a document was not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// Not UTF-8, or it says so of itself; or with control characters.
    Encoding,
    /// Not well-formed, or a prefix that is declared nowhere.
    Syntax,
    /// A DTD, an entity of its own, a processing instruction.
    Forbidden,
    /// Too deep, or too many nodes.
    TooLarge,
}

/// A namespace's name; empty: none. Cloned without copying.
#[derive(Clone, Debug)]
pub enum Ns {
    Known(&'static str),
    Other(Arc<str>),
}

impl Ns {
    pub const NONE: Ns = Ns::Known("");

    pub fn as_str(&self) -> &str {
        match self {
            Ns::Known(name) => name,
            Ns::Other(name) => name,
        }
    }

    fn of(name: &str) -> Ns {
        let known = KNOWN.iter().map(|(known, _)| *known).chain(["", XML, XSI]).find(|known| *known == name);
        known.map_or_else(|| Ns::Other(name.into()), Ns::Known)
    }
}

impl PartialEq for Ns {
    fn eq(&self, other: &Ns) -> bool {
        self.as_str() == other.as_str()
    }
}
impl Eq for Ns {}
impl fmt::Display for Ns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attribute {
    /// None for a plain one.
    ns: Ns,
    local: Box<str>,
    pub value: String,
}

impl Attribute {
    pub fn ns(&self) -> &str {
        self.ns.as_str()
    }
    pub fn local(&self) -> &str {
        &self.local
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Node {
    Element(Element),
    /// Unescaped.
    Text(String),
}

/// An element with its namespace resolved. Names are checked; comments and the space between elements are gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Element {
    ns: Ns,
    local: Box<str>,
    pub attributes: Vec<Attribute>,
    pub children: Vec<Node>,
}

impl Element {
    /// One of ours, empty.
    pub fn new(ns: &'static str, local: &'static str) -> Element {
        Element { ns: Ns::Known(ns), local: local.into(), attributes: Vec::new(), children: Vec::new() }
    }

    /// Adds an attribute without namespace.
    pub fn set(&mut self, local: &'static str, value: impl Into<String>) {
        self.attributes.push(Attribute { ns: Ns::NONE, local: local.into(), value: value.into() });
    }

    /// Adds `xml:lang`.
    pub fn set_lang(&mut self, value: impl Into<String>) {
        self.attributes.push(Attribute { ns: Ns::Known(XML), local: "lang".into(), value: value.into() });
    }

    pub fn ns(&self) -> &str {
        self.ns.as_str()
    }

    pub fn local(&self) -> &str {
        &self.local
    }

    pub fn is(&self, ns: &str, local: &str) -> bool {
        &*self.local == local && self.ns.as_str() == ns
    }

    /// Value of an attribute without namespace.
    pub fn attribute(&self, local: &str) -> Option<&str> {
        self.attribute_ns("", local)
    }

    pub fn attribute_ns(&self, ns: &str, local: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|one| &*one.local == local && one.ns.as_str() == ns)?;
        Some(&found.value)
    }

    pub fn elements(&self) -> impl Iterator<Item = &Element> {
        self.children.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// The first child of this name.
    pub fn child(&self, ns: &str, local: &str) -> Option<&Element> {
        self.elements().find(|child| child.is(ns, local))
    }

    /// All children of this name.
    pub fn named(&self, ns: &'static str, local: &'static str) -> impl Iterator<Item = &Element> {
        self.elements().filter(move |child| child.is(ns, local))
    }

    /// Its own text, trimmed; what stands in children is not of it.
    pub fn text(&self) -> String {
        let texts = self.children.iter().filter_map(|node| match node {
            Node::Text(text) => Some(text.as_str()),
            Node::Element(_) => None,
        });
        texts.collect::<String>().trim().to_owned()
    }
}

/// Reads one document. The caller bounds its bytes; time and memory are linear in them.
pub fn parse(body: &[u8]) -> Result<Element, Malformed> {
    let text = std::str::from_utf8(body).map_err(|_| Malformed::Encoding)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_ascii_start();
    if !text.chars().all(is_char) {
        return Err(Malformed::Encoding);
    }
    let mut reader = Reader::from_str(text);
    let mut tree = Tree::default();
    let mut first = true;
    loop {
        match reader.read_event().map_err(|_| Malformed::Syntax)? {
            Event::Decl(declaration) if first => declared(&declaration)?,
            Event::Decl(_) | Event::PI(_) | Event::DocType(_) => return Err(Malformed::Forbidden),
            Event::Start(tag) => tree.open(&tag)?,
            Event::Empty(tag) => {
                tree.open(&tag)?;
                tree.close()?;
            }
            // The reader has seen to it that it ends what was opened last.
            Event::End(_) => tree.close()?,
            Event::Text(text) => tree.text(&text.xml10_content())?,
            Event::CData(text) => tree.text(&text.xml10_content())?,
            Event::GeneralRef(name) => tree.text(reference(&name)?.encode_utf8(&mut [0; 4]))?,
            Event::Comment(_) => {}
            Event::Eof => return tree.root.filter(|_| tree.open.is_empty()).ok_or(Malformed::Syntax),
        }
        first = false;
    }
}

/// `<?xml …?>` with another encoding than ours promises bytes that are not there.
fn declared(declaration: &BytesDecl<'_>) -> Result<(), Malformed> {
    match declaration.encoding() {
        None => Ok(()),
        Some(Ok(name)) if ["utf-8", "us-ascii"].iter().any(|ours| name.eq_ignore_ascii_case(ours)) => Ok(()),
        Some(_) => Err(Malformed::Encoding),
    }
}

/// One of the five, or a character by its number.
fn reference(name: &quick_xml::events::BytesRef<'_>) -> Result<char, Malformed> {
    if name.is_char_ref() {
        let found = name.resolve_char_ref().map_err(|_| Malformed::Syntax)?;
        return found.filter(|c| is_char(*c)).ok_or(Malformed::Encoding);
    }
    match &**name {
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "amp" => Ok('&'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => Err(Malformed::Forbidden),
    }
}

/// What is open while a document is read.
#[derive(Default)]
struct Tree {
    root: Option<Element>,
    /// From the outermost in, each with the number of declarations that were in force outside of it.
    open: Vec<(Element, usize)>,
    /// Prefix (empty: the default) and namespace, the innermost last.
    declarations: Vec<(Box<str>, Ns)>,
    namespaces: Vec<Ns>,
    nodes: usize,
}

impl Tree {
    fn open(&mut self, tag: &BytesStart<'_>) -> Result<(), Malformed> {
        if self.root.is_some() {
            return Err(Malformed::Syntax);
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(Malformed::TooLarge);
        }
        self.count(1)?;
        let outside = self.declarations.len();
        let mut plain: Vec<(String, String)> = Vec::new();
        for (n, attribute) in tag.attributes().enumerate() {
            if n >= ATTRIBUTES_MAX {
                return Err(Malformed::TooLarge);
            }
            let attribute = attribute.map_err(|_| Malformed::Syntax)?;
            if attribute.value.contains('<') {
                return Err(Malformed::Syntax);
            }
            let value =
                attribute.normalized_value(XmlVersion::Explicit1_0).map_err(|_| Malformed::Forbidden)?;
            if !value.chars().all(is_char) {
                return Err(Malformed::Encoding);
            }
            let name = attribute.key.0;
            match name.strip_prefix("xmlns") {
                Some("") => self.declare("", &value)?,
                Some(prefix) if prefix.starts_with(':') => self.declare(&prefix[1..], &value)?,
                _ => plain.push((name.to_owned(), value.into_owned())),
            }
        }
        let (ns, local) = self.resolve(tag.name().0, true)?;
        let mut element =
            Element { ns, local, attributes: Vec::with_capacity(plain.len()), children: Vec::new() };
        self.count(plain.len())?;
        for (name, value) in plain {
            let (ns, local) = self.resolve(&name, false)?;
            if element.attribute_ns(ns.as_str(), &local).is_some() {
                return Err(Malformed::Syntax);
            }
            element.attributes.push(Attribute { ns, local, value });
        }
        self.open.push((element, outside));
        Ok(())
    }

    fn close(&mut self) -> Result<(), Malformed> {
        let (mut element, outside) = self.open.pop().ok_or(Malformed::Syntax)?;
        self.declarations.truncate(outside);
        if element.children.iter().any(|node| matches!(node, Node::Element(_))) {
            let space = |node: &Node| matches!(node, Node::Text(text) if text.trim_ascii().is_empty());
            element.children.retain(|node| !space(node));
        }
        match self.open.last_mut() {
            Some((parent, _)) => parent.children.push(Node::Element(element)),
            None => self.root = Some(element),
        }
        Ok(())
    }

    fn text(&mut self, more: &str) -> Result<(), Malformed> {
        let Some((element, _)) = self.open.last_mut() else {
            // Outside of the root there is only space.
            return if more.trim_ascii().is_empty() { Ok(()) } else { Err(Malformed::Syntax) };
        };
        match element.children.last_mut() {
            Some(Node::Text(text)) => {
                text.push_str(more);
                Ok(())
            }
            _ => {
                element.children.push(Node::Text(more.to_owned()));
                self.count(1)
            }
        }
    }

    fn count(&mut self, more: usize) -> Result<(), Malformed> {
        self.nodes += more;
        if self.nodes > NODES_MAX { Err(Malformed::TooLarge) } else { Ok(()) }
    }

    fn declare(&mut self, prefix: &str, name: &str) -> Result<(), Malformed> {
        // `xml` is declared by itself, and only a default can be taken back.
        if ["xml", "xmlns"].contains(&prefix) && name != XML || !prefix.is_empty() && name.is_empty() {
            return Err(Malformed::Syntax);
        }
        if !prefix.is_empty() && !is_name(prefix) {
            return Err(Malformed::Syntax);
        }
        if name.len() > NAME_MAX || self.declarations.len() >= NAMESPACES_MAX {
            return Err(Malformed::TooLarge);
        }
        let known = self.namespaces.iter().find(|known| known.as_str() == name).cloned();
        let ns = match known {
            Some(ns) => ns,
            None if self.namespaces.len() >= NAMESPACES_MAX => return Err(Malformed::TooLarge),
            None => {
                let ns = Ns::of(name);
                self.namespaces.push(ns.clone());
                ns
            }
        };
        self.declarations.push((prefix.into(), ns));
        Ok(())
    }

    /// The default namespace is that of elements alone (XML namespaces §6.2).
    fn resolve(&self, name: &str, element: bool) -> Result<(Ns, Box<str>), Malformed> {
        let (prefix, local) = name.split_once(':').unwrap_or(("", name));
        if !is_name(local) {
            return Err(Malformed::Syntax);
        }
        let declared = || self.declarations.iter().rev().find(|(known, _)| &**known == prefix);
        let ns = match prefix {
            "" if name.len() > local.len() => return Err(Malformed::Syntax),
            "" if !element => Ns::NONE,
            "" => declared().map_or(Ns::NONE, |(_, ns)| ns.clone()),
            "xml" => Ns::Known(XML),
            _ => declared().map(|(_, ns)| ns.clone()).ok_or(Malformed::Syntax)?,
        };
        Ok((ns, local.into()))
    }
}

/// XML 1.0 §2.2, without the control characters that it tolerates.
pub fn is_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{7e}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
}

/// A name without colon (XML namespaces §3): what `xs:ID` may be.
pub fn is_name(text: &str) -> bool {
    let start = |c: char| {
        matches!(c, 'a'..='z' | 'A'..='Z' | '_' | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}'
            | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}' | '\u{2070}'..='\u{218f}'
            | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}'
            | '\u{fdf0}'..='\u{fffd}' | '\u{10000}'..='\u{effff}')
    };
    let further = |c: char| matches!(c, '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}');
    text.len() <= NAME_MAX && text.starts_with(start) && text.chars().all(|c| start(c) || further(c))
}

#[cfg(test)]
mod tests;
