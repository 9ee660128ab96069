//! Receipts by RFC 5438, as the server between two people: what the author of a message asked to be told, and how he
//! is told.
//!
//! The request stands in the headers of a message/cpim. Prevents that a receipt is sent for a receipt, or nobody
//! asked for one, and that anything of a message gets into the receipt's headers or XML unescaped. Never tells that a
//! message was delivered: only the recipient's phone knows that (RFC 5438 §12.2).

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};
use serde::{Deserialize, Serialize};

use super::content::{Content, content};

/// The namespace of the headers (RFC 5438 §6).
const HEADERS: &str = "urn:ietf:params:imdn";
/// The namespace of the document (RFC 5438 §11.1).
const DOCUMENT: &str = "urn:ietf:params:xml:ns:imdn";
/// What a receipt is sent as.
pub const CONTENT_TYPE: &str = "message/cpim";
/// Bytes of the headers of a message/cpim that are looked at, and of one value.
const HEAD_MAX: usize = 8192;
const VALUE_MAX: usize = 1024;
/// IMDN-Record-Route headers that are kept.
const ROUTES_MAX: usize = 8;

/// What the author of a message asked to be told, and what is needed to tell him.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Asked {
    pub message_id: String,
    /// A processing notification (RFC 5438 §8.1).
    pub processing: bool,
    /// A negative delivery notification (RFC 5438 §8.2).
    pub failure: bool,
    /// Values of From and To, name and URI.
    from: String,
    to: String,
    original_to: Option<String>,
    /// Of the message, as its author wrote it.
    date: Option<String>,
    /// Values of IMDN-Record-Route, in order.
    routes: Vec<String>,
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It waits for the recipient.
    Stored,
    /// The recipient will not get it.
    Failed,
}

impl Fate {
    /// Elements of the document: kind of notification, status (RFC 5438 §11.1.6, §11.1.7).
    fn elements(self) -> (&'static str, &'static str) {
        match self {
            Fate::Stored => ("processing-notification", "stored"),
            Fate::Failed => ("delivery-notification", "failed"),
        }
    }
}

/// Headers of a message/cpim, and those of what is in it.
struct Cpim<'a> {
    message: Vec<(&'a str, &'a str)>,
    inner: Vec<(&'a str, &'a str)>,
}

impl<'a> Cpim<'a> {
    fn read(body: &'a [u8]) -> Option<Cpim<'a>> {
        let head = &body[..body.len().min(HEAD_MAX)];
        // Cut within a character, the rest is no header of ours either.
        let head = match std::str::from_utf8(head) {
            Ok(head) => head,
            Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).ok()?,
        };
        let mut blocks = [Vec::new(), Vec::new()];
        let mut block = 0;
        for line in head.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)) {
            if line.is_empty() {
                block += 1;
                if block == blocks.len() {
                    break;
                }
            } else if let Some((name, value)) = line.split_once(':') {
                let value = value.trim();
                if value.len() <= VALUE_MAX && value.chars().all(is_shown) {
                    blocks[block].push((name.trim(), value));
                }
            }
        }
        let [message, inner] = blocks;
        Some(Cpim { message, inner })
    }

    fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a str> + 's {
        // Names are compared with case (RFC 3862 §2.2).
        self.message.iter().filter(move |(known, _)| *known == name).map(|(_, value)| *value)
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// Content-Type of what is in it; a MIME header, so in any case.
    fn inner_type(&self) -> Option<&'a str> {
        let mut types = self.inner.iter().filter(|(name, _)| name.eq_ignore_ascii_case("Content-Type"));
        types.next().map(|(_, value)| *value)
    }

    /// What the headers of RFC 5438 begin with here: `imdn.`, as NS says it (RFC 3862 §3.4).
    fn prefix(&self) -> Option<String> {
        self.all("NS").find_map(|value| {
            let (prefix, uri) = value.split_once('<')?;
            let uri = uri.split_once('>')?.0;
            let prefix = prefix.trim();
            (uri == HEADERS).then(|| if prefix.is_empty() { String::new() } else { format!("{prefix}.") })
        })
    }
}

/// Whether a machine says this and not a person, however it is wrapped: typing notices and receipts are known by
/// their type, also within a message/cpim, in which RFC 5438 §7.2.1.1 has them.
pub fn is_automatic(content_type: Option<&str>, body: &[u8]) -> bool {
    match content(content_type) {
        Content::Cpim => Cpim::read(body)
            .and_then(|cpim| cpim.inner_type())
            .is_some_and(|kind| content(Some(kind)).is_automatic()),
        what => what.is_automatic(),
    }
}

/// What the author of this body asked to be told; `None`: nothing that a server between can tell.
pub fn asked(content_type: Option<&str>, body: &[u8]) -> Option<Asked> {
    if content(content_type) != Content::Cpim {
        return None;
    }
    let cpim = Cpim::read(body)?;
    if cpim.inner_type().is_some_and(|kind| content(Some(kind)) == Content::Imdn) {
        return None;
    }
    let prefix = cpim.prefix()?;
    let named = |name: &str| format!("{prefix}{name}");
    let wants = cpim.get(&named("Disposition-Notification"))?;
    let wants =
        |what: &str| wants.split(',').any(|one| one.split(';').next().unwrap_or_default().trim() == what);
    let (processing, failure) = (wants("processing"), wants("negative-delivery"));
    let message_id = cpim.get(&named("Message-ID")).filter(|id| !id.is_empty())?.to_owned();
    if !processing && !failure {
        return None;
    }
    let record = named("IMDN-Record-Route");
    let routes: Vec<String> = cpim.all(&record).take(ROUTES_MAX).map(str::to_owned).collect();
    let asked = Asked {
        message_id,
        processing,
        failure,
        from: cpim.get("From")?.to_owned(),
        to: cpim.get("To")?.to_owned(),
        original_to: cpim.get(&named("Original-To")).map(str::to_owned),
        date: cpim.get("DateTime").map(str::to_owned),
        routes,
    };
    let whole = asked.routes.iter().chain([&asked.from, &asked.to]).all(|value| uri_of(value).is_some());
    whole.then_some(asked)
}

/// What may stand in a header and in XML.
fn is_shown(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// The URI between `<` and `>`.
fn uri_of(value: &str) -> Option<&str> {
    let uri = value.rsplit_once('<')?.1.strip_suffix('>')?;
    (!uri.is_empty() && !uri.contains(char::is_whitespace)).then_some(uri)
}

impl Asked {
    /// The URI that the receipt goes to by the message's own word: the first that wants to see it, if one does
    /// (RFC 5438 §7.2.1). `None`: back to who sent the message.
    pub fn first_route(&self) -> Option<&str> {
        self.routes.first().and_then(|route| uri_of(route))
    }

    /// The receipt, a message/cpim. `id`: a Message-ID that nothing else has; `now`, and `at`, when the message was
    /// accepted: as RFC 3339 has them.
    pub fn receipt(&self, fate: Fate, id: &str, at: &str, now: &str) -> Vec<u8> {
        let document = self.document(fate, at);
        let mut out = format!(
            "From: {}\r\nTo: {}\r\nDateTime: {now}\r\nNS: imdn <{HEADERS}>\r\nimdn.Message-ID: {id}\r\n",
            self.to, self.from
        );
        for route in &self.routes {
            out.push_str(&format!("imdn.IMDN-Route: {route}\r\n"));
        }
        out.push_str(&format!(
            "\r\nContent-Type: message/imdn+xml\r\nContent-Disposition: notification\r\n\
             Content-Length: {}\r\n\r\n",
            document.len()
        ));
        let mut out = out.into_bytes();
        out.extend_from_slice(&document);
        out
    }

    /// The document, its elements in the order of the schema (RFC 5438 §11.1.9).
    fn document(&self, fate: Fate, at: &str) -> Vec<u8> {
        let recipient = uri_of(&self.to).unwrap_or_default();
        let original = self.original_to.as_deref().and_then(uri_of).unwrap_or(recipient);
        let date = self.date.as_deref().unwrap_or(at);
        let texts = [
            ("message-id", self.message_id.as_str()),
            ("datetime", date),
            ("recipient-uri", recipient),
            ("original-recipient-uri", original),
        ];
        let (kind, status) = fate.elements();
        let mut xml = Writer::new(Vec::new());
        let mut put = |event: Event<'_>| {
            // A vector takes everything.
            let _ = xml.write_event(event);
        };
        put(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)));
        put(Event::Start(BytesStart::new("imdn").with_attributes([("xmlns", DOCUMENT)])));
        for (name, text) in texts {
            put(Event::Start(BytesStart::new(name)));
            put(Event::Text(BytesText::new(text)));
            put(Event::End(BytesEnd::new(name)));
        }
        put(Event::Start(BytesStart::new(kind)));
        put(Event::Start(BytesStart::new("status")));
        put(Event::Empty(BytesStart::new(status)));
        put(Event::End(BytesEnd::new("status")));
        put(Event::End(BytesEnd::new(kind)));
        put(Event::End(BytesEnd::new("imdn")));
        xml.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CPIM: Option<&str> = Some("message/cpim");

    fn message(headers: &str, inner: &str) -> Vec<u8> {
        let text = format!(
            "From: Alice <im:alice@example.com>\nTo: Bob <im:bob@example.com>\n\
             DateTime: 2006-04-04T12:16:49-05:00\n{headers}\nContent-type: {inner}\n\nHello World"
        );
        text.replace('\n', "\r\n").into_bytes()
    }

    fn with(wants: &str) -> Vec<u8> {
        let headers = format!(
            "NS: imdn <urn:ietf:params:imdn>\nimdn.Message-ID: 34jk324j\nimdn.Disposition-Notification: {wants}\n"
        );
        message(&headers, "text/plain")
    }

    #[test]
    fn what_is_asked_for_is_read_from_the_headers() {
        let read = |wants: &str| asked(CPIM, &with(wants)).map(|asked| (asked.processing, asked.failure));
        assert_eq!(read("positive-delivery, negative-delivery"), Some((false, true)));
        assert_eq!(read("processing"), Some((true, false)));
        assert_eq!(read("processing;x=y , negative-delivery ;z"), Some((true, true)));
        for nothing in ["", "positive-delivery, display", "Processing", "negative-deliveryx"] {
            assert_eq!(read(nothing), None, "{nothing}");
        }
        let asked = asked(Some("Message/CPIM; x=y"), &with("processing")).unwrap();
        assert_eq!((asked.message_id.as_str(), asked.first_route()), ("34jk324j", None));
    }

    #[test]
    fn another_prefix_is_the_same_and_without_the_namespace_it_is_nothing() {
        let body = |ns: &str, prefix: &str| {
            message(
                &format!("{ns}{prefix}Message-ID: 1\n{prefix}Disposition-Notification: processing\n"),
                "text/plain",
            )
        };
        assert!(asked(CPIM, &body("NS: MyImdn <urn:ietf:params:imdn>\n", "MyImdn.")).is_some());
        assert!(asked(CPIM, &body("NS: <urn:ietf:params:imdn>\n", "")).is_some());
        assert!(asked(CPIM, &body("NS: imdn <urn:other>\n", "imdn.")).is_none());
        assert!(asked(CPIM, &body("", "imdn.")).is_none());
        assert!(asked(Some("text/plain"), &with("processing")).is_none());
    }

    #[test]
    fn nobody_is_told_of_a_receipt() {
        let headers = "NS: imdn <urn:ietf:params:imdn>\nimdn.Message-ID: 1\nimdn.Disposition-Notification: processing\n";
        let body = message(headers, "message/imdn+xml");
        assert_eq!(asked(CPIM, &body), None);
        assert!(is_automatic(CPIM, &body));
        assert!(is_automatic(CPIM, &message("", "Application/IM-isComposing+xml;x=y")));
        assert!(is_automatic(Some("message/imdn+xml"), b""));
        assert!(!is_automatic(CPIM, &with("processing")));
        assert!(!is_automatic(Some("text/plain"), &body));
        // Our own receipt is one.
        let ours = asked(CPIM, &with("processing")).unwrap().receipt(Fate::Stored, "i", "a", "n");
        assert!(is_automatic(CPIM, &ours) && asked(CPIM, &ours).is_none());
    }

    #[test]
    fn the_receipt_names_the_message_and_its_fate() {
        let asked = asked(CPIM, &with("processing, negative-delivery")).unwrap();
        let text =
            |fate| String::from_utf8(asked.receipt(fate, "id7", "at", "2026-11-20T21:04:00Z")).unwrap();
        let stored = text(Fate::Stored);
        assert_eq!(
            stored,
            "From: Bob <im:bob@example.com>\r\nTo: Alice <im:alice@example.com>\r\nDateTime: 2026-11-20T21:04:00Z\r\n\
             NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: id7\r\n\r\nContent-Type: message/imdn+xml\r\n\
             Content-Disposition: notification\r\nContent-Length: 359\r\n\r\n\
             <?xml version=\"1.0\" encoding=\"UTF-8\"?><imdn xmlns=\"urn:ietf:params:xml:ns:imdn\">\
             <message-id>34jk324j</message-id><datetime>2006-04-04T12:16:49-05:00</datetime>\
             <recipient-uri>im:bob@example.com</recipient-uri>\
             <original-recipient-uri>im:bob@example.com</original-recipient-uri>\
             <processing-notification><status><stored/></status></processing-notification></imdn>"
        );
        assert!(
            text(Fate::Failed).ends_with(
                "<delivery-notification><status><failed/></status></delivery-notification></imdn>"
            )
        );
        // It outlives a restart as it is.
        let kept: Asked = serde_json::from_str(&serde_json::to_string(&asked).unwrap()).unwrap();
        assert_eq!(kept, asked);
    }

    #[test]
    fn what_a_message_says_cannot_break_out_of_the_document() {
        let headers = "NS: imdn <urn:ietf:params:imdn>\nimdn.Message-ID: </message-id><x a=\"&\">\n\
                       imdn.Disposition-Notification: processing\nimdn.IMDN-Record-Route: <im:gate@b.org>\n";
        let asked = asked(CPIM, &message(headers, "text/plain")).unwrap();
        assert_eq!(asked.first_route(), Some("im:gate@b.org"));
        let text = String::from_utf8(asked.receipt(Fate::Failed, "i", "a", "n")).unwrap();
        assert!(text.contains("<message-id>&lt;/message-id&gt;&lt;x a="), "{text}");
        assert!(text.contains("\r\nimdn.IMDN-Route: <im:gate@b.org>\r\n"), "{text}");
        let control = headers.replace("</message-id>", "\u{1b}");
        assert_eq!(super::asked(CPIM, &message(&control, "text/plain")), None);
    }

    proptest! {
        #[test]
        fn garbage_asks_for_nothing_and_breaks_nothing(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = is_automatic(CPIM, &body);
            prop_assert_eq!(asked(CPIM, &body), None);
        }

        #[test]
        fn whatever_is_asked_the_document_can_be_read(id in "\\PC{1,40}", uri in "[^\\s<>]{1,30}") {
            let headers = format!(
                "NS: imdn <urn:ietf:params:imdn>\nimdn.Message-ID: {id}\nimdn.Disposition-Notification: processing\n\
                 imdn.Original-To: <{uri}>\n"
            );
            if let Some(asked) = asked(CPIM, &message(&headers, "text/plain")) {
                let receipt = String::from_utf8(asked.receipt(Fate::Stored, "i", "a", "n")).unwrap();
                let (_, document) = receipt.split_once("<?xml").unwrap();
                let document = format!("<?xml{document}");
                let mut reader = quick_xml::Reader::from_str(&document);
                loop {
                    match reader.read_event() {
                        Ok(quick_xml::events::Event::Eof) => break,
                        Ok(_) => {}
                        Err(error) => prop_assert!(false, "{}: {}", error, document),
                    }
                }
            }
        }
    }
}
