//! An independent reader of what we send: rsip has read nothing of ours.
//!
//! Prevents that delivery is proved with MESSAGEs that only we understand.

use std::collections::HashMap;

use imcd::chat::ids::{Branch, Ids};
use imcd::types::Dest;
use rsip::Header;
use rsip::prelude::*;

/// A MESSAGE as a phone sees it.
#[derive(Clone, Debug)]
pub struct Sent {
    pub dest: Dest,
    pub branch: Branch,
    pub uri: String,
    pub from: String,
    pub tag: String,
    pub to: String,
    pub call_id: String,
    pub cseq: u32,
    pub body: String,
    pub headers: HashMap<String, String>,
    pub bytes: Vec<u8>,
}

impl Sent {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// Reads a MESSAGE of ours quickly, knowing how we write it; every sixteenth is read by the judge as well.
pub fn glance(ids: &Ids, dest: Dest, bytes: &[u8]) -> Sent {
    let text = std::str::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut rows = head.split("\r\n");
    let uri = rows.next().unwrap().split(' ').nth(1).unwrap();
    let row = |name: &str| head.split_once(&format!("\r\n{name}: ")).unwrap().1.split("\r\n").next().unwrap();
    let (from, via) = (row("From"), row("Via"));
    let branch = via.split_once(";branch=").unwrap().1.split(';').next().unwrap();
    let mut headers = HashMap::new();
    if head.contains("\r\nIn-Reply-To: ") {
        headers.insert("In-Reply-To".to_owned(), row("In-Reply-To").to_owned());
    }
    let sent = Sent {
        dest,
        branch: ids.read_branch(branch).unwrap(),
        uri: uri.to_owned(),
        from: from.to_owned(),
        tag: from.split_once(";tag=").unwrap().1.to_owned(),
        to: row("To").trim_matches(['<', '>']).to_owned(),
        call_id: row("Call-ID").to_owned(),
        cseq: row("CSeq").split(' ').next().unwrap().parse().unwrap(),
        body: body.to_owned(),
        headers,
        bytes: bytes.to_vec(),
    };
    if sent.branch.nonce.is_multiple_of(16) {
        let judged = judge(ids, dest, bytes);
        let all =
            |s: &Sent| (s.branch, s.uri.clone(), s.tag.clone(), s.to.clone(), s.call_id.clone(), s.cseq);
        assert_eq!(all(&judged), all(&sent));
        assert_eq!(judged.body, sent.body);
    }
    sent
}

/// Reads a MESSAGE, and complains of what no MESSAGE of ours may be (spec §4, RFC 3428 §4).
pub fn judge(ids: &Ids, dest: Dest, bytes: &[u8]) -> Sent {
    let request = rsip::Request::try_from(bytes).unwrap();
    assert_eq!(request.method, rsip::Method::Message);
    assert_eq!(request.version, rsip::Version::V2);
    let via = request.via_header().unwrap().typed().unwrap();
    let datagram = matches!(dest, Dest::Udp { .. });
    assert_eq!(via.transport, if datagram { rsip::Transport::Udp } else { rsip::Transport::Tcp });
    assert!(!datagram || bytes.len() <= 1300, "{} bytes in a datagram", bytes.len());
    assert!(via.params.iter().any(|p| p.to_string().starts_with(";rport")), "{via}");
    let branch = ids.read_branch(via.branch().unwrap().value()).unwrap();

    let mut headers = HashMap::new();
    for header in request.headers.iter() {
        let row = header.to_string();
        let (name, value) = row.split_once(':').unwrap();
        let again = headers.insert(name.to_owned(), value.trim().to_owned());
        assert!(again.is_none(), "{name} twice");
        assert!(!matches!(header, Header::Contact(_) | Header::RecordRoute(_)), "{name}");
    }
    for name in ["Max-Forwards", "Date", "Content-Type", "Content-Length"] {
        assert!(headers.contains_key(name), "no {name}: {}", String::from_utf8_lossy(bytes));
    }
    assert!(headers["Date"].ends_with(" GMT"));
    assert_eq!(headers["Content-Length"], request.body.len().to_string());
    let from = request.from_header().unwrap();
    let to = request.to_header().unwrap().typed().unwrap();
    assert!(to.tag().is_none(), "a request outside a dialog has no To tag");
    let cseq = request.cseq_header().unwrap().typed().unwrap();
    assert_eq!(cseq.method, rsip::Method::Message);
    assert!(cseq.seq < 1 << 31);
    Sent {
        dest,
        branch,
        uri: request.uri.to_string(),
        from: from.value().to_owned(),
        tag: from.tag().unwrap().unwrap().value().to_owned(),
        to: to.uri.to_string(),
        call_id: request.call_id_header().unwrap().value().to_owned(),
        cseq: cseq.seq,
        body: String::from_utf8(request.body).unwrap(),
        headers,
        bytes: bytes.to_vec(),
    }
}
