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

/// Names sorted into buckets by length, so that a look-up compares with two or three of them.
struct ByLength {
    /// Where the bucket of each length starts in `order`; the next entry is where it ends.
    start: [u8; LONGEST + 2],
    order: [u8; Name::COUNT - 1],
}

const LONGEST: usize = 20;

const fn by_length() -> ByLength {
    let mut table = ByLength { start: [0; LONGEST + 2], order: [0; Name::COUNT - 1] };
    let (mut length, mut at) = (0, 0);
    while length <= LONGEST {
        table.start[length] = at as u8;
        let mut i = 0;
        while i < Name::ALL.len() {
            if Name::ALL[i].0.len() == length {
                table.order[at] = i as u8;
                at += 1;
            }
            i += 1;
        }
        length += 1;
    }
    table.start[length] = at as u8;
    assert!(at == Name::ALL.len());
    table
}

static BY_LENGTH: ByLength = by_length();

impl Name {
    /// The field called `spelled`, whichever way (RFC 3261 §7.3.1, §7.3.3).
    pub fn of(spelled: &[u8]) -> Name {
        if let [letter] = spelled {
            return Name::compact(letter.to_ascii_lowercase());
        }
        if spelled.len() > LONGEST {
            return Name::Other;
        }
        let bucket = BY_LENGTH.start[spelled.len()] as usize..BY_LENGTH.start[spelled.len() + 1] as usize;
        for i in &BY_LENGTH.order[bucket] {
            let (text, name) = Name::ALL[*i as usize];
            if text.as_bytes().eq_ignore_ascii_case(spelled) {
                return name;
            }
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
