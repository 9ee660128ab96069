//! STUN Binding on the SIP port: a phone's keep-alive on UDP, by which it learns that its address has changed
//! (RFC 5626 §5.4, §8; RFC 5389).
//!
//! Prevents that a phone that was granted outbound takes us for dead and registers over and over. Answers Binding
//! requests alone, without credentials, in not much more than was asked. Never sends by itself.

use std::net::{IpAddr, SocketAddr};

const MAGIC: u32 = 0x2112_a442;
const HEADER: usize = 20;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;
const MAPPED_ADDRESS: u16 = 0x0001;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
/// Attributes that must be understood and may come in a Binding request: CHANGE-REQUEST is not among them.
const KNOWN: &[u16] = &[0x0006, 0x0008, 0x0014, 0x0015];
/// Attributes that are looked at.
const ATTRIBUTES_MAX: usize = 16;

/// Whether a datagram could be STUN: SIP never begins with a control character. A method may begin with what lies above
/// them, `!` for one (RFC 4475 §3.1.1.2).
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| *first < b' ' && !matches!(first, b'\r' | b'\n' | b'\t'))
        && datagram.len() >= HEADER
}

/// The answer to a Binding request that came from `source`; `None`: it is none, and is dropped.
pub fn answer(datagram: &[u8], source: SocketAddr) -> Option<Vec<u8>> {
    let (header, rest) = datagram.split_at_checked(HEADER)?;
    let kind = u16::from_be_bytes([header[0], header[1]]);
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if kind != BINDING_REQUEST || length % 4 != 0 || length != rest.len() {
        return None;
    }
    let modern = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) == MAGIC;
    let unknown = unknown(rest)?;
    let (kind, attribute) = match unknown.is_empty() {
        true => (BINDING_SUCCESS, address(source, modern, &header[4..])),
        false => (BINDING_ERROR, refusal(&unknown)),
    };
    let mut out = Vec::with_capacity(HEADER + attribute.len());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&(attribute.len() as u16).to_be_bytes());
    // Magic cookie and transaction as they came.
    out.extend_from_slice(&header[4..]);
    out.extend_from_slice(&attribute);
    Some(out)
}

/// Attributes that have to be understood and are not (RFC 5389 §7.3.1); `None`: they are cut off.
fn unknown(mut rest: &[u8]) -> Option<Vec<u16>> {
    let mut unknown = Vec::new();
    for _ in 0..ATTRIBUTES_MAX {
        if rest.is_empty() {
            return Some(unknown);
        }
        let (head, value) = rest.split_at_checked(4)?;
        let kind = u16::from_be_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        rest = value.get(length.next_multiple_of(4)..)?;
        if kind < 0x8000 && !KNOWN.contains(&kind) {
            unknown.push(kind);
        }
    }
    None
}

/// Where the request came from; hidden from address rewriters where the client knows how to read that
/// (RFC 5389 §15.2, §12.2). `cookie`: magic cookie and transaction id.
fn address(source: SocketAddr, modern: bool, cookie: &[u8]) -> Vec<u8> {
    let mut ip = match source.ip().to_canonical() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let family = if ip.len() == 4 { 1 } else { 2 };
    let mut port = source.port().to_be_bytes();
    let kind = if modern { XOR_MAPPED_ADDRESS } else { MAPPED_ADDRESS };
    if modern {
        for (byte, key) in ip.iter_mut().zip(cookie) {
            *byte ^= key;
        }
        for (byte, key) in port.iter_mut().zip(cookie) {
            *byte ^= key;
        }
    }
    let mut out = head(kind, 4 + ip.len());
    out.extend_from_slice(&[0, family]);
    out.extend_from_slice(&port);
    out.extend_from_slice(&ip);
    out
}

/// 420 with what was not understood (RFC 5389 §15.6, §15.9).
fn refusal(unknown: &[u16]) -> Vec<u8> {
    let reason = b"Unknown Attribute";
    let mut out = head(ERROR_CODE, 4 + reason.len());
    out.extend_from_slice(&[0, 0, 4, 20]);
    out.extend_from_slice(reason);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(head(UNKNOWN_ATTRIBUTES, 2 * unknown.len()));
    for kind in unknown {
        out.extend_from_slice(&kind.to_be_bytes());
    }
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

fn head(kind: u16, length: usize) -> Vec<u8> {
    let mut out = kind.to_be_bytes().to_vec();
    out.extend_from_slice(&(length as u16).to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(cookie: u32, attributes: &[u8]) -> Vec<u8> {
        let mut out = vec![0, 1];
        out.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
        out.extend_from_slice(&cookie.to_be_bytes());
        out.extend_from_slice(&[0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae]);
        out.extend_from_slice(attributes);
        out
    }

    #[test]
    fn t35_the_addresses_of_rfc_5769_come_out_as_there() {
        // RFC 5769 §2.2 and §2.3.
        let four = answer(&request(MAGIC, &[]), "192.0.2.1:32853".parse().unwrap()).unwrap();
        assert_eq!(four[..4], [1, 1, 0, 12]);
        assert_eq!(four[20..], [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        let six =
            answer(&request(MAGIC, &[]), "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap())
                .unwrap();
        let xored = [
            0, 2, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe,
            0xd2, 0xb9, 0xd9,
        ];
        assert_eq!(six[24..], xored);
        assert_eq!(six[4..20], request(MAGIC, &[])[4..20]);
    }

    #[test]
    fn an_old_client_is_told_in_the_clear() {
        let told = answer(&request(7, &[]), "192.0.2.1:5060".parse().unwrap()).unwrap();
        assert_eq!(told[20..], [0, 1, 0, 8, 0, 1, 0x13, 0xc4, 192, 0, 2, 1]);
    }

    #[test]
    fn what_is_not_understood_is_named_and_what_may_be_ignored_is() {
        let source = "192.0.2.1:5060".parse().unwrap();
        let software = [0x80, 0x22, 0, 3, b'a', b'b', b'c', 0];
        assert_eq!(answer(&request(MAGIC, &software), source).unwrap()[..2], [1, 1]);
        let strange = [0, 3, 0, 4, 0, 0, 0, 6];
        let refused = answer(&request(MAGIC, &strange), source).unwrap();
        assert_eq!(refused[..2], [1, 0x11]);
        assert_eq!(usize::from(refused[3]) + HEADER, refused.len());
        assert!(refused.windows(6).any(|part| part == [0, 0x0a, 0, 2, 0, 3]));
    }

    #[test]
    fn t35_junk_is_dropped() {
        let source = "192.0.2.1:5060".parse().unwrap();
        let good = request(MAGIC, &[0x80, 0x22, 0, 4, 1, 2, 3, 4]);
        for cut in 0..good.len() {
            assert_eq!(answer(&good[..cut], source), None, "{cut}");
        }
        let mut indication = good.clone();
        indication[1] = 0x11;
        assert_eq!(answer(&indication, source), None);
        assert_eq!(answer(&request(MAGIC, &[0x80, 0x22, 0xff, 0xff]), source), None);
        assert_eq!(answer(&request(MAGIC, &[0x80, 0, 0, 0].repeat(17)), source), None);
        assert!(!is_stun(b"\r\n\r\nMESSAGE sip:a@h SIP/2.0") && !is_stun(b"MESSAGE sip:a@h SIP/2.0\r\n"));
        assert!(!is_stun(b"!method sip:a@h SIP/2.0\r\n") && !is_stun(b"0 sip:alice@example.org SIP/2.0\r\n"));
        assert!(is_stun(&good) && !is_stun(&good[..19]));
    }
}
