//! Hostile and merely odd messages, one edit of a good one each, with the answer they get, by RFC section.
//!
//! Written for this project; the archives of RFC 4475 and RFC 5118 are read by `wire.rs` where they are at hand.

/// What the scanner must say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Taken,
    /// Refused with this status; the request can be answered.
    Answered(u16),
    /// Refused; there is nothing to answer.
    Dropped,
}
use Verdict::{Answered, Dropped, Taken};

/// The good message that each case changes.
pub const GOOD: &[u8] = b"MESSAGE sip:team@example.org SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.7:5062;branch=z9hG4bKhostile;rport\r\n\
    Max-Forwards: 70\r\n\
    From: \"Alice\" <sip:alice@example.org>;tag=a1\r\n\
    To: <sip:team@example.org>\r\n\
    Call-ID: hostile@192.0.2.7\r\n\
    CSeq: 7 MESSAGE\r\n\
    Contact: <sip:alice@192.0.2.7:5062>\r\n\
    Content-Type: text/plain\r\n\
    Content-Length: 5\r\n\
    \r\n\
    hello";

pub struct Case {
    /// `RFC number §section`.
    pub section: &'static str,
    pub what: &'static str,
    pub verdict: Verdict,
    /// What is replaced in [`GOOD`], and by what. Each must be found exactly once.
    pub edits: &'static [(&'static str, &'static [u8])],
}

impl Case {
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = GOOD.to_vec();
        for (from, to) in self.edits {
            let hits: Vec<usize> = memchr::memmem::find_iter(&bytes, from).collect();
            assert_eq!(hits.len(), 1, "{}: {from:?} is there {} times", self.what, hits.len());
            bytes.splice(hits[0]..hits[0] + from.len(), to.iter().copied());
        }
        bytes
    }
}

macro_rules! cases {
    ($($section:literal, $what:literal, $verdict:expr, [$($edit:expr),*];)*) => {
        pub const CASES: &[Case] = &[$(Case {
            section: $section, what: $what, verdict: $verdict, edits: &[$($edit),*],
        },)*];
    };
}

const START: &str = "MESSAGE sip:team@example.org SIP/2.0\r\n";
const VIA: &str = "Via: SIP/2.0/UDP 192.0.2.7:5062;branch=z9hG4bKhostile;rport\r\n";
const FROM: &str = "From: \"Alice\" <sip:alice@example.org>;tag=a1\r\n";
const TO: &str = "To: <sip:team@example.org>\r\n";
const CALL_ID: &str = "Call-ID: hostile@192.0.2.7\r\n";
const CSEQ: &str = "CSeq: 7 MESSAGE\r\n";
const CONTACT: &str = "Contact: <sip:alice@192.0.2.7:5062>\r\n";
const LENGTH: &str = "Content-Length: 5\r\n";
const HOPS: &str = "Max-Forwards: 70\r\n";
const REGISTER: (&str, &[u8]) = (START, b"REGISTER sip:example.org SIP/2.0\r\n");
const REGISTER_CSEQ: (&str, &[u8]) = (CSEQ, b"CSeq: 7 REGISTER\r\n");

cases! {
    // Start-line.
    "RFC 3261 §7", "the good message", Taken, [];
    "RFC 3261 §7.1", "an unknown method of odd token characters", Taken, [(START, b"!O*d`~ sip:team@example.org SIP/2.0\r\n"), (CSEQ, b"CSeq: 7 !O*d`~\r\n")];
    "RFC 3261 §7.1", "a method that is no token", Dropped, [("MESSAGE sip:team", b"MES(SAGE sip:team")];
    "RFC 3261 §7.1", "no method", Dropped, [("MESSAGE sip:team", b" sip:team")];
    "RFC 3261 §7.1", "method alone", Answered(400), [(START, b"MESSAGE\r\n")];
    "RFC 3261 §7.1", "no version", Answered(400), [(" SIP/2.0\r\nVia: ", b"\r\nVia: ")];
    "RFC 3261 §7.1", "version in small letters", Taken, [("example.org SIP/2.0\r\nVia", b"example.org sip/2.0\r\nVia")];
    "RFC 3261 §21.5.6", "another version", Answered(505), [("example.org SIP/2.0\r\nVia", b"example.org SIP/3.0\r\nVia")];
    "RFC 3261 §21.5.6", "a version that is none", Answered(400), [("example.org SIP/2.0\r\nVia", b"example.org HTTP/1.1\r\nVia")];
    "RFC 3261 §7.1", "two spaces before the Request-URI", Answered(400), [("MESSAGE sip:team", b"MESSAGE  sip:team")];
    "RFC 3261 §7.1", "a tab before the Request-URI", Dropped, [("MESSAGE sip:team", b"MESSAGE\tsip:team")];
    "RFC 3261 §7.1", "a space at the end", Answered(400), [("example.org SIP/2.0\r\nVia", b"example.org SIP/2.0 \r\nVia")];
    "RFC 3261 §7.1", "a folded start-line", Answered(400), [("MESSAGE sip:team@example.org SIP/2.0", b"MESSAGE sip:team@example.org\r\n SIP/2.0")];
    "RFC 3261 §7.1", "Request-URI in angle brackets", Answered(400), [("MESSAGE sip:team@example.org", b"MESSAGE <sip:team@example.org>")];
    "RFC 3261 §7.1", "a space in the Request-URI", Answered(400), [("MESSAGE sip:team@example.org", b"MESSAGE sip:team@example.org; lr")];
    "RFC 3261 §19.1.1", "headers in the Request-URI", Answered(400), [("MESSAGE sip:team@example.org", b"MESSAGE sip:team@example.org?Route=%3Csip:evil%3E")];
    "RFC 3261 §19.1.1", "two at signs", Answered(400), [("MESSAGE sip:team@example.org", b"MESSAGE sip:team@example.org@evil.example")];
    "RFC 3261 §19.1.1", "a broken escape", Answered(400), [("MESSAGE sip:team@example.org", b"MESSAGE sip:te%6@example.org")];
    "RFC 3261 §19.1.1", "an escaped NUL", Taken, [("MESSAGE sip:team@example.org", b"MESSAGE sip:%00team@example.org")];
    "RFC 3261 §19.1.1", "a port above 65535", Answered(400), [("MESSAGE sip:team@example.org", b"MESSAGE sip:team@example.org:65536")];
    "RFC 3261 §19.1.1", "an octet above 127 in the Request-URI", Answered(400), [("MESSAGE sip:team@example.org", b"MESSAGE sip:t\xc3\xa9am@example.org")];
    "RFC 3261 §21.4.14", "a Request-URI of 2,100 bytes", Answered(414), [("MESSAGE sip:team", &long::<2100>(b"MESSAGE sip:"))];
    "RFC 3261 §21.4.16", "a scheme we do not know", Taken, [("MESSAGE sip:team@example.org", b"MESSAGE isbn:2983792873")];
    "RFC 5118 §4.2", "an IPv6 address without brackets", Answered(400), [("MESSAGE sip:team@example.org", b"MESSAGE sip:2001:db8::10")];
    "RFC 5118 §4.3", "what looks like a port inside the brackets", Taken, [("MESSAGE sip:team@example.org", b"MESSAGE sip:[2001:db8::10:5070]")];
    "RFC 5954 §3.1", "three colons", Answered(400), [("MESSAGE sip:team@example.org", b"MESSAGE sip:[2001:db8:::1]")];

    // Lines.
    "RFC 3261 §7.5", "CRLFs before the start-line", Taken, [("MESSAGE sip:team", b"\r\n\r\nMESSAGE sip:team")];
    "RFC 3261 §7", "LF for CRLF after the start-line", Answered(400), [("example.org SIP/2.0\r\nVia", b"example.org SIP/2.0\nX: y\r\nVia")];
    "RFC 3261 §7.3.1", "a bare LF that could start a header", Answered(400), [("Max-Forwards: 70", b"X: a\nP-Asserted-Identity: <sip:boss@example.org>\r\nMax-Forwards: 70")];
    "RFC 3261 §7.3.1", "a bare CR in a value", Answered(400), [("Max-Forwards: 70", b"X: a\rb\r\nMax-Forwards: 70")];
    "RFC 3261 §7.3.1", "folded values", Taken, [(CSEQ, b"CSeq\t:\r\n 7\r\n\t MESSAGE\r\n"), (FROM, b"f:\r\n \"Al\r\n ice\"\r\n <sip:alice@example.org>\r\n ; tag\r\n = a1\r\n")];
    "RFC 3261 §7.3.1", "a fold before the first header", Answered(400), [(VIA, b" Max-Breadth: 60\r\nVia: SIP/2.0/UDP 192.0.2.7:5062;branch=z9hG4bKhostile\r\n")];
    "RFC 3261 §7.3.1", "white space before the colon", Taken, [("Call-ID: ", b"Call-ID \t : ")];
    "RFC 3261 §7.3.1", "a control before the colon", Answered(400), [("Call-ID: ", b"Call-ID\x01: ")];
    "RFC 3261 §7.3.1", "a vertical tab before the colon", Answered(400), [("To: <", b"To\x0b: <")];
    "RFC 3261 §7.3.1", "a NUL in a header name", Answered(400), [("Content-Type: ", b"Content\0Type: ")];
    "RFC 3261 §7.3.1", "a line without colon", Answered(400), [(HOPS, b"Max-Forwards 70\r\n")];
    "RFC 3261 §7.3.1", "an empty header name", Answered(400), [(HOPS, b": 70\r\n")];
    "RFC 3261 §7.3.3", "compact forms in capitals", Taken, [("Via: ", b"V: "), ("From: ", b"F: "), ("Call-ID: ", b"I: "), ("Content-Length: ", b"L: ")];
    "RFC 3261 §8.2.2", "controls in a header that nobody needs", Taken, [(HOPS, b"Max-Forwards: 70\r\nX-Odd: \x01\xff\0\r\nDate: never\r\n")];
    "RFC 3261 §20.41", "an empty value where one may be", Taken, [(HOPS, b"Max-Forwards: 70\r\nSupported:\r\ns :\r\n")];
    "RFC 3261 §7", "no empty line at the end", Answered(400), [("Content-Length: 5\r\n\r\nhello", b"Content-Length: 0\r\n")];
    "RFC 3261 §7", "cut off inside a header", Answered(400), [("Content-Length: 5\r\n\r\nhello", b"Content-Len")];
    "RFC 3261 §7", "nothing but an empty line", Dropped, [("MESSAGE sip:team@example.org SIP/2.0\r\nVia", b"\r\n\r\nVia")];
    "RFC 3261 §21.5.7", "a header section of 17 kB", Answered(513), [(TO, &long::<17000>(b"To: \""))];
    "RFC 3261 §21.5.7", "150 headers", Answered(513), [(HOPS, &rows::<900>())];

    // What every request must have.
    "RFC 3261 §8.1.1", "no Via", Dropped, [(VIA, b"")];
    "RFC 3261 §8.1.1", "no From", Answered(400), [(FROM, b"")];
    "RFC 3261 §8.1.1", "no To", Answered(400), [(TO, b"")];
    "RFC 3261 §8.1.1", "no Call-ID", Answered(400), [(CALL_ID, b"")];
    "RFC 3261 §8.1.1", "no CSeq", Answered(400), [(CSEQ, b"")];
    "RFC 3261 §16.3", "no Max-Forwards", Taken, [(HOPS, b"")];
    "RFC 3261 §20.22", "Max-Forwards of 0", Taken, [(HOPS, b"Max-Forwards: 000\r\n")];
    "RFC 3261 §20.22", "Max-Forwards of 256", Answered(400), [(HOPS, b"Max-Forwards: 256\r\n")];
    "RFC 3261 §20.22", "Max-Forwards below 0", Answered(400), [(HOPS, b"Max-Forwards: -1\r\n")];
    "RFC 3261 §8.1.1.5", "CSeq of another method", Answered(400), [(CSEQ, b"CSeq: 7 INVITE\r\n")];
    "RFC 3261 §7.1", "CSeq of the same method in small letters", Answered(400), [(CSEQ, b"CSeq: 7 message\r\n")];
    "RFC 3261 §8.1.1.5", "the largest CSeq, with zeros before it", Taken, [(CSEQ, b"CSeq: 0002147483647 MESSAGE\r\n")];
    "RFC 3261 §8.1.1.5", "CSeq of 2^31", Answered(400), [(CSEQ, b"CSeq: 2147483648 MESSAGE\r\n")];
    "RFC 3261 §8.1.1.5", "CSeq of 2^64 + 7", Answered(400), [(CSEQ, b"CSeq: 18446744073709551623 MESSAGE\r\n")];
    "RFC 3261 §20.16", "CSeq without space", Answered(400), [(CSEQ, b"CSeq: 7MESSAGE\r\n")];
    "RFC 3261 §20.16", "CSeq with something behind it", Answered(400), [(CSEQ, b"CSeq: 7 MESSAGE x\r\n")];
    "RFC 3261 §20.16", "a CSeq method of 9,000 bytes", Answered(400), [(CSEQ, &long::<9000>(b"CSeq: 7 MESSAGE"))];
    "RFC 3261 §20.8", "an empty Call-ID", Answered(400), [(CALL_ID, b"Call-ID:\r\n")];
    "RFC 3261 §20.8", "a space in the Call-ID", Answered(400), [(CALL_ID, b"Call-ID: a b\r\n")];
    "RFC 3261 §20.8", "odd characters in the Call-ID", Taken, [(CALL_ID, b"Call-ID: w%Z-!.*_+'@`~)(><:\\/\"][?}{\r\n")];

    // One of each.
    "RFC 3261 §7.3.1", "From twice", Answered(400), [(FROM, b"From: <sip:alice@example.org>;tag=a1\r\nf: <sip:boss@example.org>;tag=a1\r\n")];
    "RFC 3261 §7.3.1", "From twice, the same", Taken, [(FROM, b"From: <sip:alice@example.org>;tag=a1\r\nf:<sip:alice@example.org>;tag=a1 \r\n")];
    "RFC 3261 §7.3.1", "To twice, once in white space", Answered(400), [(TO, b"To: <sip:team@example.org>\r\nTO : <sip:other@example.org>\r\n")];
    "RFC 3261 §7.3.1", "Call-ID twice", Answered(400), [(CALL_ID, b"Call-ID: a\r\ni: b\r\n")];
    "RFC 3261 §7.3.1", "CSeq twice", Answered(400), [(CSEQ, b"CSeq: 7 MESSAGE\r\nCSeq: 8 MESSAGE\r\n")];
    "RFC 3261 §7.3.1", "two addresses in one From", Answered(400), [(FROM, b"From: <sip:alice@example.org>;tag=a1, <sip:boss@example.org>;tag=a2\r\n")];
    "RFC 3261 §20.14", "two lengths", Answered(400), [(LENGTH, b"Content-Length: 5\r\nl: 4\r\n")];
    "RFC 3261 §20.14", "one length twice", Taken, [(LENGTH, b"Content-Length: 5\r\nl: 5\r\n")];

    // Body.
    "RFC 3261 §18.3", "no length in a datagram", Taken, [(LENGTH, b"")];
    "RFC 3261 §18.3", "a length above what is there", Answered(400), [(LENGTH, b"Content-Length: 6\r\n")];
    "RFC 3261 §18.3", "bytes behind the body", Taken, [("hello", b"hello MESSAGE sip:x SIP/2.0\r\n")];
    "RFC 3261 §20.14", "a negative length", Answered(400), [(LENGTH, b"Content-Length: -5\r\n")];
    "RFC 3261 §20.14", "a length of 2^32 + 5", Answered(400), [(LENGTH, b"Content-Length: 4294967301\r\n")];
    "RFC 3261 §20.14", "a length in hex", Answered(400), [(LENGTH, b"Content-Length: 0x5\r\n")];
    "RFC 3261 §20.14", "a list of lengths", Answered(400), [(LENGTH, b"Content-Length: 5, 5\r\n")];
    "RFC 3261 §20.14", "an empty length", Answered(400), [(LENGTH, b"Content-Length: \r\n")];
    "RFC 3261 §21.4.11", "a body above the limit", Answered(413), [(LENGTH, b""), ("hello", &long::<33000>(b"hello"))];
    "RFC 3261 §7.4", "any octets in the body", Taken, [(LENGTH, b"Content-Length: 8\r\n"), ("hello", b"\0\r\n\r\n\xff\xfe\x01")];

    // From, To, Contact.
    "RFC 3261 §25.1", "a quote that is not closed", Answered(400), [("\"Alice\" <", b"\"Alice <")];
    "RFC 3261 §25.1", "a quote closed by an escape", Answered(400), [("\"Alice\" <", b"\"Alice\\\" <")];
    "RFC 3261 §25.1", "escaped controls in a quote", Taken, [("\"Alice\" <", b"\"\\\x07\\\0\\\x7f\" <")];
    "RFC 3261 §25.1", "a fold hidden behind an escape", Answered(400), [("\"Alice\" <", b"\"Alice\\\r\n \" <")];
    "RFC 3261 §20.10", "no space before <", Taken, [("\"Alice\" <", b"Alice<")];
    "RFC 3261 §20.10", "a display name that is not UTF-8", Taken, [("\"Alice\" <", b"\"Al\xeece\" <")];
    "RFC 3261 §20.10", "an unquoted comma in the name", Answered(400), [("\"Alice\" <", b"Doe, Alice <")];
    "RFC 3261 §20.10", "a second address before <", Answered(400), [("\"Alice\" <", b"sip:boss@example.org <")];
    "RFC 3261 §20.10", "angle brackets that are not closed", Answered(400), [("To: <sip:team@example.org>", b"To: <sip:team@example.org")];
    "RFC 3261 §20.10", "spaces inside the brackets", Answered(400), [("To: <sip:team@example.org>", b"To: < sip:team@example.org >")];
    "RFC 3261 §20.10", "a question mark outside of brackets", Answered(400), [("To: <sip:team@example.org>", b"To: sip:team@example.org?X=y")];
    "RFC 3261 §20.20", "empty parameters", Answered(400), [(";tag=a1", b";;tag=a1;")];
    "RFC 3261 §20.20", "no tag", Taken, [(";tag=a1", b"")];
    "RFC 3261 §20.20", "40 parameters", Answered(400), [(";tag=a1", &params::<80>())];
    "RFC 3261 §20.39", "a To that is no URI", Answered(400), [("To: <sip:team@example.org>", b"To: team")];
    "RFC 3261 §20.39", "a To of another scheme", Taken, [("To: <sip:team@example.org>", b"To: isbn:2983792873")];
    "RFC 3261 §8.2.2", "a bad Contact where it is not needed", Taken, [(CONTACT, b"Contact: \"\r\n")];
    "RFC 3261 §10.3", "a bad Contact in a REGISTER", Answered(400), [REGISTER, REGISTER_CSEQ, (CONTACT, b"Contact: <sip:a@h>, \"x <sip:b@h>\r\n")];
    "RFC 3261 §20.10", "a question mark outside of brackets in a Contact", Answered(400), [REGISTER, REGISTER_CSEQ, (CONTACT, b"Contact: sip:alice@192.0.2.7?Route=%3Csip:evil%3E\r\n")];
    "RFC 3261 §10.2.2", "a star in a REGISTER", Taken, [REGISTER, REGISTER_CSEQ, (CONTACT, b"Contact: *\r\n")];
    "RFC 5626 §4.1", "an instance with a comma and brackets in quotes", Taken, [REGISTER, REGISTER_CSEQ, (CONTACT, b"m: <sip:a@h;x>;+sip.instance=\"<urn:uuid:0,1>\" , <sip:b@h>\r\n")];

    // Via.
    "RFC 3261 §20.42", "separators without anything between", Answered(400), [(VIA, b"Via: SIP/2.0/UDP 192.0.2.7;;,;,,\r\n")];
    "RFC 3261 §20.42", "a Via without host", Answered(400), [(VIA, b"Via: SIP/2.0/UDP ;branch=z9hG4bKhostile\r\n")];
    "RFC 3261 §20.42", "white space at every place where it may be", Taken, [(VIA, b"Via : SIP  /   2.0\r\n /UDP\r\n  192.0.2.7 : 5062 ; branch\r\n = z9hG4bKhostile , SIP/2.0/TCP x\r\n")];
    "RFC 3261 §20.42", "a transport nobody knows", Taken, [(VIA, b"Via: SIP/2.0/PIGEON 192.0.2.7;branch=z9hG4bKhostile\r\n")];
    "RFC 3261 §8.2.2", "a bad Via below the top", Taken, [(VIA, b"Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKhostile\r\nVia: ;;\r\n")];
    "RFC 3261 §17.2.3", "no branch", Taken, [(VIA, b"Via: SIP/2.0/UDP 192.0.2.7\r\n")];
    "RFC 3261 §20.42", "a port that is none", Answered(400), [(VIA, b"Via: SIP/2.0/UDP 192.0.2.7:x;branch=z9hG4bKhostile\r\n")];
    "RFC 5118 §4.5", "received with brackets", Taken, [(VIA, b"Via: SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bKh\r\n")];
    "RFC 5118 §4.5", "received without brackets", Taken, [(VIA, b"Via: SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bKh\r\n")];
    "RFC 5118 §4.2", "a Via host without brackets", Answered(400), [(VIA, b"Via: SIP/2.0/UDP 2001:db8::9:1;branch=z9hG4bKh\r\n")];

    // Responses are taken or dropped, never answered.
    "RFC 3261 §7.2", "a response", Taken, [(START, b"SIP/2.0 200 \xc3\x96K\r\n")];
    "RFC 3261 §7.2", "a response without reason", Taken, [(START, b"SIP/2.0 100 \r\n")];
    "RFC 3261 §7.2", "a status of ten digits", Dropped, [(START, b"SIP/2.0 4294967496 OK\r\n")];
    "RFC 3261 §7.2", "a status of 99", Dropped, [(START, b"SIP/2.0 099 OK\r\n")];
    "RFC 3261 §7.2", "a status above 699", Dropped, [(START, b"SIP/2.0 700 OK\r\n")];
    "RFC 3261 §18.3", "a response shorter than its length", Dropped, [(START, b"SIP/2.0 200 OK\r\n"), (LENGTH, b"Content-Length: 6\r\n")];
    "RFC 3261 §8.1.3", "a response with an overlarge CSeq", Dropped, [(START, b"SIP/2.0 200 OK\r\n"), (CSEQ, b"CSeq: 9292394834772304023312 OPTIONS\r\n")];
    "RFC 3261 §7.2", "a response of another version", Dropped, [(START, b"SIP/7.0 200 OK\r\n")];
}

/// `start`, then as many `x` as make `N` bytes.
const fn long<const N: usize>(start: &[u8]) -> [u8; N] {
    let mut text = [b'x'; N];
    let mut i = 0;
    while i < start.len() {
        text[i] = start[i];
        i += 1;
    }
    text
}

/// `N / 6` header rows.
const fn rows<const N: usize>() -> [u8; N] {
    repeat(b"X: y\r\n")
}

/// `N / 2` parameters.
const fn params<const N: usize>() -> [u8; N] {
    repeat(b";p")
}

const fn repeat<const N: usize>(unit: &[u8]) -> [u8; N] {
    let mut text = [0; N];
    let mut i = 0;
    while i < N {
        text[i] = unit[i % unit.len()];
        i += 1;
    }
    text
}
