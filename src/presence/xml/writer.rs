//! XML of ours as bytes.
//!
//! Prevents that a text becomes markup, and that a document is one that nobody can read: every text is escaped,
//! characters that XML has not are left out, every prefix is declared where it is used. Never writes a name that a
//! person chose, unless a document with that name was read.

use super::{Element, KNOWN, Node, XML, is_char};

/// Writes one document, element by element. What is open at the end is closed.
pub struct Writer {
    out: String,
    /// The default namespace of the root, and those declared there with their prefixes.
    roots: Vec<&'static str>,
    open: Vec<Open>,
    /// The start tag of the last of `open` still lacks its `>`.
    unfinished: bool,
}

struct Open {
    /// As it stands in the start tag.
    name: String,
    /// The default namespace inside.
    default: String,
    /// A known namespace that is declared here because the root did not.
    declares: Option<&'static str>,
    /// Prefixes made for attributes here.
    prefixes: u8,
}

impl Writer {
    /// `namespaces` are declared at the root: the first as default, the others with the prefixes of [`KNOWN`], which
    /// has to have them.
    pub fn new(namespaces: &[&'static str]) -> Writer {
        let mut out = String::with_capacity(1024);
        out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        Writer { out, roots: namespaces.to_vec(), open: Vec::new(), unfinished: false }
    }

    /// A start tag; [`Writer::attribute`] follows at once or not at all.
    pub fn open(&mut self, ns: &'static str, local: &'static str) -> &mut Writer {
        self.start(ns, local);
        self
    }

    /// An attribute without namespace.
    pub fn attribute(&mut self, name: &'static str, value: &str) -> &mut Writer {
        self.put_attribute("", name, value);
        self
    }

    /// `xml:lang` and such.
    pub fn attribute_ns(&mut self, ns: &'static str, name: &'static str, value: &str) -> &mut Writer {
        self.put_attribute(ns, name, value);
        self
    }

    pub fn text(&mut self, text: &str) -> &mut Writer {
        self.finish_tag();
        escape(&mut self.out, text, false);
        self
    }

    pub fn close(&mut self) -> &mut Writer {
        let Some(open) = self.open.pop() else { return self };
        if self.unfinished {
            self.out.push_str("/>");
            self.unfinished = false;
        } else {
            self.out.push_str("</");
            self.out.push_str(&open.name);
            self.out.push('>');
        }
        self
    }

    /// An element with a text in it.
    pub fn leaf(&mut self, ns: &'static str, local: &'static str, text: &str) -> &mut Writer {
        self.open(ns, local).text(text).close()
    }

    /// An element with nothing in it.
    pub fn empty(&mut self, ns: &'static str, local: &'static str) -> &mut Writer {
        self.open(ns, local).close()
    }

    /// An element that was read, with all that is in it.
    pub fn element(&mut self, element: &Element) -> &mut Writer {
        self.start(element.ns(), element.local());
        for one in &element.attributes {
            self.put_attribute(one.ns(), one.local(), &one.value);
        }
        for child in &element.children {
            match child {
                Node::Element(child) => self.element(child),
                Node::Text(text) => self.text(text),
            };
        }
        self.close()
    }

    /// Bytes so far.
    pub fn written(&self) -> usize {
        self.out.len()
    }

    pub fn finish(mut self) -> Vec<u8> {
        while !self.open.is_empty() {
            self.close();
        }
        self.out.push('\n');
        self.out.into_bytes()
    }

    fn finish_tag(&mut self) {
        if std::mem::take(&mut self.unfinished) {
            self.out.push('>');
        }
    }

    /// Prefix of a namespace that needs no declaration here.
    fn prefix_in_force(&self, ns: &str) -> Option<&'static str> {
        let at_root = self.roots.iter().skip(1).any(|root| *root == ns);
        let in_force = at_root || self.open.iter().any(|open| open.declares == Some(ns));
        if in_force { known(ns).map(|(_, prefix)| prefix) } else { None }
    }

    fn start(&mut self, ns: &str, local: &str) {
        self.finish_tag();
        let root = self.open.is_empty();
        let outer = self.open.last().map_or("", |open| open.default.as_str());
        let mut name = String::with_capacity(local.len() + 8);
        let (mut default, mut declares) = (outer.to_owned(), None);
        if root && let Some(first) = self.roots.first() {
            default = (*first).to_owned();
        }
        if default == ns {
            name.push_str(local);
        } else if let Some(prefix) = self.prefix_in_force(ns) {
            name = format!("{prefix}:{local}");
        } else if let Some((ns, prefix)) = known(ns).filter(|(ns, _)| self.roots.first() != Some(ns)) {
            declares = Some(ns);
            name = format!("{prefix}:{local}");
        } else {
            default = ns.to_owned();
            name.push_str(local);
        }
        self.out.push('<');
        self.out.push_str(&name);
        if default != outer {
            self.declaration("", &default);
        }
        if root {
            for ns in self.roots.clone().into_iter().skip(1) {
                if let Some((ns, prefix)) = known(ns) {
                    self.declaration(prefix, ns);
                }
            }
        }
        if let Some((ns, prefix)) = declares.and_then(known) {
            self.declaration(prefix, ns);
        }
        self.open.push(Open { name, default, declares, prefixes: 0 });
        self.unfinished = true;
    }

    fn declaration(&mut self, prefix: &str, ns: &str) {
        self.out.push_str(if prefix.is_empty() { " xmlns" } else { " xmlns:" });
        self.out.push_str(prefix);
        self.out.push_str("=\"");
        escape(&mut self.out, ns, true);
        self.out.push('"');
    }

    fn put_attribute(&mut self, ns: &str, local: &str, value: &str) {
        if !self.unfinished {
            return;
        }
        let prefix = match ns {
            "" => None,
            XML => Some("xml".to_owned()),
            _ => self.prefix_in_force(ns).map(str::to_owned).or_else(|| {
                let open = self.open.last_mut()?;
                let prefix = format!("a{}", open.prefixes);
                open.prefixes = open.prefixes.saturating_add(1);
                self.declaration(&prefix, ns);
                Some(prefix)
            }),
        };
        self.out.push(' ');
        if let Some(prefix) = prefix {
            self.out.push_str(&prefix);
            self.out.push(':');
        }
        self.out.push_str(local);
        self.out.push_str("=\"");
        escape(&mut self.out, value, true);
        self.out.push('"');
    }
}

fn known(ns: &str) -> Option<(&'static str, &'static str)> {
    KNOWN.iter().copied().find(|(name, _)| *name == ns)
}

/// Appends `text`. Line ends and tabs in a value are written by number, or a reader would make spaces of them
/// (XML 1.0 §3.3.3); so is CR everywhere (§2.11).
pub fn escape(out: &mut String, text: &str, value: bool) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' if value => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            '\n' if value => out.push_str("&#10;"),
            '\t' if value => out.push_str("&#9;"),
            c if is_char(c) => out.push(c),
            _ => {}
        }
    }
}
