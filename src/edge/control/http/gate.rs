//! Who may come through the HTTP door: told from the head of a request alone.
//!
//! Prevents that a page of another site manages the server through an administrator's browser (by a name that points
//! to loopback for a moment, or by a form), and that anybody comes in from outside without the token. Never answers
//! CORS: no page has business here.

use std::net::IpAddr;

use hyper::header::{AUTHORIZATION, HOST, ORIGIN};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};
use sha2::{Digest, Sha256};

/// What the door asks of its callers.
#[derive(Clone, Debug)]
pub struct Gate {
    /// SHA-256 of the token: comparing hashes tells nothing by its time.
    token: Option<[u8; 32]>,
    /// Lower-case names by which we may be called besides `localhost` and addresses.
    names: Vec<String>,
}

/// Why a request goes no further.
pub(super) type No = (StatusCode, &'static str);

impl Gate {
    /// `token`: what callers must show; `None`: only where nobody else reaches the address. `names`: host names of
    /// ours.
    pub fn new(token: Option<&str>, names: impl IntoIterator<Item = String>) -> Gate {
        let token = token.map(|token| Sha256::digest(token.as_bytes()).into());
        Gate { token, names: names.into_iter().map(|name| name.to_ascii_lowercase()).collect() }
    }

    /// Whether a request with this head is served.
    pub(super) fn admits(&self, head: &Parts) -> Result<(), No> {
        let Parts { method, uri, headers, version, .. } = head;
        let mut hosts = headers.get_all(HOST).iter();
        let host = match (hosts.next().map(|host| host.to_str()), hosts.next()) {
            (Some(Ok(host)), None) => Some(host),
            // Old probes have none. Browsers always do.
            (None, _) if *version == Version::HTTP_10 => None,
            _ => return Err((StatusCode::BAD_REQUEST, "exactly one Host is needed")),
        };
        // Without a token, that only this machine reaches the address is all that protects it. A name that its
        // owner points to 127.0.0.1 for a moment must not do. The target's own host counts, if it has one
        // (RFC 9112 §3.2.2).
        let named = [host, uri.authority().map(|a| a.as_str())];
        if self.token.is_none() && !named.into_iter().flatten().all(|host| self.is_ours(host)) {
            return Err((StatusCode::MISDIRECTED_REQUEST, "this Host is not served here"));
        }
        // Browsers name the page behind a request that changes something.
        if ![Method::GET, Method::HEAD].contains(method) && headers.contains_key(ORIGIN) {
            return Err((StatusCode::FORBIDDEN, "not for web pages"));
        }
        match self.token {
            Some(token) if !is_public(method, uri.path()) => {
                let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
                let fits = shown.is_some_and(|shown| Sha256::digest(shown.as_bytes())[..] == token[..]);
                fits.then_some(()).ok_or((StatusCode::UNAUTHORIZED, "a bearer token is needed"))
            }
            _ => Ok(()),
        }
    }

    fn is_ours(&self, host: &str) -> bool {
        let Some(name) = without_port(host) else { return false };
        if name.starts_with('[') || name.parse::<IpAddr>().is_ok() {
            // An address cannot be pointed elsewhere.
            return true;
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        name == "localhost" || self.names.contains(&name)
    }
}

/// What everybody may see: whether we live, and a picture whose hash one knows.
fn is_public(method: &Method, path: &str) -> bool {
    let picture = || path.strip_prefix("/avatar/").is_some_and(is_sha1);
    [Method::GET, Method::HEAD].contains(method) && (matches!(path, "/healthz" | "/readyz") || picture())
}

/// Forty hexadecimal digits.
pub(super) fn is_sha1(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// RFC 6750 §2.1.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}

/// `None`: this is no host with or without a port.
fn without_port(host: &str) -> Option<&str> {
    let (name, port) = match host.rfind(']') {
        Some(end) if host.starts_with('[') => {
            host[1..end].parse::<std::net::Ipv6Addr>().ok()?;
            (&host[..=end], &host[end + 1..])
        }
        Some(_) => return None,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port =
        port.strip_prefix(':').map_or(port.is_empty(), |port| port.bytes().all(|b| b.is_ascii_digit()));
    (port && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;
    use hyper::header::HeaderMap;

    fn judge(gate: &Gate, method: &str, uri: &str, headers: &[(&'static str, &str)]) -> u16 {
        judge_of(Version::HTTP_11, gate, method, uri, headers)
    }

    fn judge_of(
        version: Version,
        gate: &Gate,
        method: &str,
        uri: &str,
        headers: &[(&'static str, &str)],
    ) -> u16 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let mut head =
            Request::builder().method(method).uri(uri).version(version).body(()).unwrap().into_parts().0;
        head.headers = map;
        gate.admits(&head).map_or_else(|(status, _)| status.as_u16(), |()| 200)
    }

    #[test]
    fn without_a_token_only_what_cannot_be_pointed_elsewhere_is_our_host() {
        let gate = Gate::new(None, ["Chat.Example.org".to_owned()]);
        for fine in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "localhost",
            "LOCALHOST:8080",
            "[::1]",
            "[::1]:8080",
            "192.0.2.1:1",
            "chat.example.org",
            "CHAT.example.org.:8080",
        ] {
            assert_eq!(judge(&gate, "POST", "/rpc", &[("host", fine)]), 200, "{fine}");
        }
        for evil in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "127.0.0.1:80:evil",
            "127.0.0.1:x",
            "[::1].evil",
            "[evil]",
            "::1",
            "",
            ":8080",
            "notchat.example.org",
        ] {
            assert_eq!(judge(&gate, "POST", "/rpc", &[("host", evil)]), 421, "{evil}");
            assert_eq!(judge(&gate, "GET", "/metrics", &[("host", evil)]), 421, "{evil}");
        }
        assert_eq!(judge(&gate, "GET", "http://evil.example/metrics", &[("host", "127.0.0.1")]), 421);
        assert_eq!(judge(&gate, "GET", "/metrics", &[]), 400);
        assert_eq!(judge_of(Version::HTTP_10, &gate, "GET", "/healthz", &[]), 200, "an old probe");
        assert_eq!(judge_of(Version::HTTP_10, &gate, "GET", "/healthz", &[("host", "evil.example")]), 421);
        let guarded = Gate::new(Some("secret"), []);
        assert_eq!(judge_of(Version::HTTP_10, &guarded, "GET", "/metrics", &[]), 401);
        assert_eq!(judge(&gate, "GET", "/metrics", &[("host", "localhost"), ("host", "localhost")]), 400);
    }

    #[test]
    fn another_sites_page_changes_nothing() {
        let gate = Gate::new(None, []);
        for origin in ["http://evil.example", "null", "http://127.0.0.1:8080"] {
            let headers = [("host", "127.0.0.1"), ("origin", origin)];
            for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
                assert_eq!(judge(&gate, method, "/rpc", &headers), 403, "{method} from {origin}");
            }
        }
    }

    #[test]
    fn with_a_token_all_but_health_and_a_hashs_picture_asks_for_it() {
        let gate = Gate::new(Some("0123456789abcdef"), []);
        let host = ("host", "imcd.example");
        let with = |value| judge(&gate, "POST", "/rpc", &[host, ("authorization", value)]);
        assert_eq!(with("Bearer 0123456789abcdef"), 200);
        assert_eq!(with("bearer  0123456789abcdef "), 200);
        for wrong in
            ["Bearer 0123456789abcde", "Basic 0123456789abcdef", "0123456789abcdef", "Bearer", "Bearer "]
        {
            assert_eq!(with(wrong), 401, "{wrong}");
        }
        let hash = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
        for (method, path, status) in [
            ("GET", "/healthz".to_owned(), 200),
            ("HEAD", "/readyz".to_owned(), 200),
            ("GET", format!("/avatar/{hash}"), 200),
            ("PUT", format!("/avatar/{hash}"), 401),
            ("GET", "/avatar/alice@example.org".to_owned(), 401),
            ("GET", "/metrics".to_owned(), 401),
            ("POST", "/mi".to_owned(), 401),
            ("POST", "/RPC".to_owned(), 401),
            ("GET", "/nothing".to_owned(), 401),
            ("GET", "//healthz".to_owned(), 401),
        ] {
            assert_eq!(judge(&gate, method, &path, &[host]), status, "{method} {path}");
        }
    }
}
