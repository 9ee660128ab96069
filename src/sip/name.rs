//! Header field names: what they are called, long, compact and in any case.
//!
//! Prevents that a header is trusted in one spelling and overlooked in another. Never looks at values.

/// The header fields we look at by name. All others are [`Name::Other`].
macro_rules! names {
    ($($name:ident $text:literal;)*) => {
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum Name { $(#[doc = $text] $name,)* /** Any other. */ Other }

        impl Name {
            /// How many there are, `Other` included.
            pub const COUNT: usize = Name::Other as usize + 1;
            const ALL: [(&'static str, Name); Name::COUNT - 1] = [$(($text, Name::$name),)*];
        }
    };
}

names! {
    Accept "Accept";
    AcceptContact "Accept-Contact";
    AcceptEncoding "Accept-Encoding";
    AcceptLanguage "Accept-Language";
    AlertInfo "Alert-Info";
    Allow "Allow";
    AllowEvents "Allow-Events";
    AuthenticationInfo "Authentication-Info";
    Authorization "Authorization";
    CallId "Call-ID";
    CallInfo "Call-Info";
    Contact "Contact";
    ContentDisposition "Content-Disposition";
    ContentEncoding "Content-Encoding";
    ContentLanguage "Content-Language";
    ContentLength "Content-Length";
    ContentType "Content-Type";
    CSeq "CSeq";
    Date "Date";
    ErrorInfo "Error-Info";
    Event "Event";
    Expires "Expires";
    From "From";
    Identity "Identity";
    IdentityInfo "Identity-Info";
    InReplyTo "In-Reply-To";
    MaxForwards "Max-Forwards";
    MimeVersion "MIME-Version";
    MinExpires "Min-Expires";
    Organization "Organization";
    PAssertedIdentity "P-Asserted-Identity";
    PPreferredIdentity "P-Preferred-Identity";
    Path "Path";
    Priority "Priority";
    Privacy "Privacy";
    ProxyAuthenticate "Proxy-Authenticate";
    ProxyAuthorization "Proxy-Authorization";
    ProxyRequire "Proxy-Require";
    RecordRoute "Record-Route";
    ReferTo "Refer-To";
    ReferredBy "Referred-By";
    RejectContact "Reject-Contact";
    ReplyTo "Reply-To";
    RequestDisposition "Request-Disposition";
    Require "Require";
    RetryAfter "Retry-After";
    Route "Route";
    Server "Server";
    ServiceRoute "Service-Route";
    SessionExpires "Session-Expires";
    SipEtag "SIP-ETag";
    SipIfMatch "SIP-If-Match";
    Subject "Subject";
    SubscriptionState "Subscription-State";
    SuppressIfMatch "Suppress-If-Match";
    Supported "Supported";
    Timestamp "Timestamp";
    To "To";
    Unsupported "Unsupported";
    UserAgent "User-Agent";
    Via "Via";
    Warning "Warning";
    WwwAuthenticate "WWW-Authenticate";
}

/// Where each name is found: open addressing, a quarter full, so that a look-up compares with one or two.
static SLOTS: [u8; 256] = slots();
const FREE: u8 = u8::MAX;

const fn slot(name: &[u8]) -> u8 {
    let (first, middle) = (name[0] | 0x20, name[name.len() / 2] | 0x20);
    (name.len() as u8).wrapping_add(first.wrapping_mul(19)).wrapping_add(middle.wrapping_mul(16))
}

const fn slots() -> [u8; 256] {
    let mut slots = [FREE; 256];
    let mut i = 0;
    while i < Name::ALL.len() {
        let mut at = slot(Name::ALL[i].0.as_bytes());
        while slots[at as usize] != FREE {
            at = at.wrapping_add(1);
        }
        slots[at as usize] = i as u8;
        i += 1;
    }
    slots
}

impl Name {
    /// The field called `spelled`, whichever way (RFC 3261 §7.3.1, §7.3.3).
    pub fn of(spelled: &[u8]) -> Name {
        match spelled {
            [] => return Name::Other,
            [letter] => return Name::compact(letter.to_ascii_lowercase()),
            _ => {}
        }
        let mut at = slot(spelled);
        while SLOTS[at as usize] != FREE {
            let (text, name) = Name::ALL[SLOTS[at as usize] as usize];
            // Most spell as the RFCs do, and equality is cheaper.
            if text.as_bytes() == spelled || text.as_bytes().eq_ignore_ascii_case(spelled) {
                return name;
            }
            at = at.wrapping_add(1);
        }
        Name::Other
    }

    /// Compact forms: RFC 3261 §7.3.3, RFC 3515, RFC 3841 §10, RFC 3892, RFC 4028, RFC 6665 §8.2.
    fn compact(letter: u8) -> Name {
        match letter {
            b'a' => Name::AcceptContact,
            b'b' => Name::ReferredBy,
            b'c' => Name::ContentType,
            b'd' => Name::RequestDisposition,
            b'e' => Name::ContentEncoding,
            b'f' => Name::From,
            b'i' => Name::CallId,
            b'j' => Name::RejectContact,
            b'k' => Name::Supported,
            b'l' => Name::ContentLength,
            b'm' => Name::Contact,
            b'n' => Name::IdentityInfo,
            b'o' => Name::Event,
            b'r' => Name::ReferTo,
            b's' => Name::Subject,
            b't' => Name::To,
            b'u' => Name::AllowEvents,
            b'v' => Name::Via,
            b'x' => Name::SessionExpires,
            b'y' => Name::Identity,
            _ => Name::Other,
        }
    }

    /// The long form as RFCs spell it; empty for [`Name::Other`].
    pub fn text(self) -> &'static str {
        Name::ALL.get(self as usize).map_or("", |(text, _)| text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_every_case_and_only_whole() {
        for (text, name) in Name::ALL {
            assert_eq!(Name::of(text.as_bytes()), name);
            assert_eq!(Name::of(text.to_ascii_uppercase().as_bytes()), name);
            assert_eq!(name.text(), text);
            assert_eq!(Name::of(format!("{text}x").as_bytes()), Name::Other);
            assert_eq!(Name::of(format!("X{}", &text[1..]).as_bytes()), Name::Other);
        }
        assert_eq!(Name::of(b"V"), Name::Via);
        assert_eq!(Name::of(b"z"), Name::Other);
        assert_eq!(Name::of(b""), Name::Other);
        assert_eq!(Name::Other.text(), "");
    }
}
