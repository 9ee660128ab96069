//! A subscription as a phone keeps it: the dialog, and the NOTIFYs in it.

use std::cell::Cell;

#[path = "../../rules/presence/schema.rs"]
mod schema;

use super::sip::param;
use super::{Msg, PATIENCE, Phone, Req};

pub struct Watch<'a> {
    pub phone: &'a Phone,
    /// The answer to the SUBSCRIBE.
    pub answer: Msg,
    request: Req,
    cseq: Cell<u32>,
    /// Where the next SUBSCRIBE goes.
    target: String,
    to: String,
}

impl Phone {
    /// A SUBSCRIBE of this phone, as phones write it.
    pub fn subscribe_request(&self, event: &str, to: &str, expires: u32) -> Req {
        self.request("SUBSCRIBE", to)
            .header(&format!("Event: {event}"))
            .header(&format!("Expires: {expires}"))
            .header(&format!("Contact: <{}>", self.contact()))
    }

    /// Subscribes; it must be accepted.
    pub fn watches(&self, event: &str, to: &str) -> Watch<'_> {
        self.watches_by(self.subscribe_request(event, to, 600))
    }

    pub fn watches_by(&self, request: Req) -> Watch<'_> {
        let sent = self.send(request);
        let answer = sent.outcome.unwrap_or_else(|none| self.fail(&format!("SUBSCRIBE: {none:?}")));
        self.check(answer.status() == 200, &format!("SUBSCRIBE was answered {}", answer.start));
        let target = super::sip::uri_of(answer.header("Contact"));
        let to =
            format!("{}>;tag={}", sent.request.to, param(answer.header("To"), "tag").unwrap_or_default());
        Watch { phone: self, cseq: Cell::new(sent.request.cseq), request: sent.request, answer, target, to }
    }

    /// Every NOTIFY that came, each once.
    pub fn notified(&self) -> Vec<Msg> {
        self.shared.lock().notified.clone()
    }

    /// Waits for a NOTIFY in any dialog, or none. `is_it` may not ask the phone.
    pub fn is_notified(&self, what: &str, is_it: impl Fn(&Msg) -> bool) -> Msg {
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), PATIENCE, |state| !state.notified.iter().any(&is_it))
            .unwrap_or_else(|e| e.into_inner());
        let found = state.notified.iter().find(|said| is_it(said)).cloned();
        drop(state);
        found.unwrap_or_else(|| self.fail(&format!("was never notified: {what}")))
    }

    /// Publishes a PIDF document; the answer.
    pub fn publishes(&self, etag: Option<&str>, expires: u32, body: &str) -> Msg {
        let mut request = self
            .request("PUBLISH", self.user())
            .header("Event: presence")
            .header(&format!("Expires: {expires}"));
        if let Some(etag) = etag {
            request = request.header(&format!("SIP-If-Match: {etag}"));
        }
        if !body.is_empty() {
            request = request.header("Content-Type: application/pidf+xml").body(body);
        }
        self.ask(request)
    }

    /// How it answers NOTIFYs from now on; 0: not at all.
    pub fn answers_notify(&self, status: u16) {
        let mut state = self.shared.lock();
        (state.notify_silent, state.notify_status) = (status == 0, Some(status));
    }
}

/// Every document that a watcher was told is valid by its schema, and its list can be read.
impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let mut known = std::collections::HashSet::new();
        for said in self.told().iter().filter(|said| known.insert(said.body.clone())) {
            valid(said.header("Content-Type"), &said.body);
        }
    }
}

/// The schema of a document, by its type.
fn schema_of(kind: &str) -> Option<&'static str> {
    match kind.split(';').next().unwrap_or_default().trim() {
        "application/pidf+xml" => Some(schema::PRESENCE),
        "application/rlmi+xml" => Some("rlmi.xsd"),
        "application/watcherinfo+xml" => Some("watcherinfo.xsd"),
        "application/conference-info+xml" => Some("conference-info.xsd"),
        _ => None,
    }
}

fn valid(kind: &str, body: &[u8]) {
    if let Some(xsd) = schema_of(kind) {
        return schema::validates(body, xsd);
    }
    if !kind.starts_with("multipart/related") {
        assert!(body.is_empty() || kind == "application/simple-message-summary", "{kind}");
        return;
    }
    // The root leads, each reference finds its part, each part is named (RFC 4662 §5).
    let text = String::from_utf8(body.to_vec()).unwrap();
    // Its values have brackets, which elsewhere mean an address.
    let of_kind = |name: &str| {
        let mut params = kind.split(';').filter_map(|known| known.trim().split_once('='));
        params.find(|(known, _)| *known == name).map(|(_, value)| value.trim_matches('"'))
    };
    let boundary = of_kind("boundary").unwrap();
    let parts: Vec<(&str, &str)> = text
        .trim_end()
        .strip_suffix("--")
        .unwrap()
        .split(&format!("--{boundary}"))
        .filter_map(|part| part.trim_start().split_once("\r\n\r\n"))
        .collect();
    let header = |head: &str, name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines
            .into_iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_owned())
    };
    let ids: Vec<String> = parts.iter().filter_map(|(head, _)| header(head, "Content-ID")).collect();
    assert_eq!(ids.len(), parts.len(), "a part without a name:\n{text}");
    assert_eq!(of_kind("start"), ids.first().map(String::as_str), "{kind}\n{text}");
    let (root, rest) = parts.split_first().unwrap();
    for reference in root.1.split("cid=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(ids[1..].contains(&format!("<{reference}>")), "{reference}:\n{text}");
    }
    assert_eq!(root.1.matches("cid=\"").count(), rest.len(), "{text}");
    for (head, part) in &parts {
        let kind = header(head, "Content-Type").unwrap();
        let xsd = schema_of(&kind).unwrap_or_else(|| panic!("{kind}"));
        schema::validates(part.trim_end().as_bytes(), xsd);
    }
}

impl Watch<'_> {
    pub fn call_id(&self) -> &str {
        &self.request.call_id
    }

    /// The SUBSCRIBE that began it, as it was sent last.
    pub fn first_request(&self) -> Req {
        self.request.clone()
    }

    /// The NOTIFYs of this dialog so far.
    pub fn told(&self) -> Vec<Msg> {
        self.phone.notified().into_iter().filter(|said| said.call_id() == self.call_id()).collect()
    }

    /// Waits for a NOTIFY of this dialog. `is_it` may not ask the phone.
    pub fn hears(&self, what: &str, is_it: impl Fn(&Msg) -> bool) -> Msg {
        self.hears_after(0, what, is_it)
    }

    /// The same, among those that came after the first `skipped`.
    pub fn hears_after(&self, skipped: usize, what: &str, is_it: impl Fn(&Msg) -> bool) -> Msg {
        let find = |notified: &[Msg]| {
            let ours = notified.iter().filter(|said| said.call_id() == self.call_id());
            ours.skip(skipped).find(|said| is_it(said)).cloned()
        };
        let shared = &self.phone.shared;
        let (state, _) = shared
            .changed
            .wait_timeout_while(shared.lock(), PATIENCE, |state| find(&state.notified).is_none())
            .unwrap_or_else(|e| e.into_inner());
        let found = find(&state.notified);
        drop(state);
        found.unwrap_or_else(|| self.phone.fail(&format!("was never notified: {what}")))
    }

    /// A further SUBSCRIBE in the dialog; the answer.
    pub fn again(&self, expires: u32) -> Msg {
        self.phone.ask(self.again_request(expires))
    }

    pub fn again_request(&self, expires: u32) -> Req {
        self.cseq.set(self.cseq.get() + 10);
        let mut request = self.request.clone();
        request.uri = self.target.clone();
        // The phone puts the brackets around.
        request.to = self.to.clone();
        request.cseq = self.cseq.get();
        request.branch = format!("z9hG4bK{}", super::token());
        request.headers.retain(|line| !line.starts_with("Expires:") && !line.starts_with("Authorization:"));
        request.header(&format!("Expires: {expires}"))
    }
}

/// A PIDF document as phones publish it.
pub fn pidf(who: &str, basic: &str, activity: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
         xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" \
         entity=\"sip:{who}\"><tuple id=\"t1\"><status><basic>{basic}</basic></status></tuple>\
         <dm:person id=\"p1\"><rpid:activities>{activity}</rpid:activities></dm:person></presence>"
    )
}
