//! Every way to say no.
//!
//! A [`Refusal`] is a domain "no": one variant, one SIP status, one public reason phrase that reveals nothing.
//! A [`Fault`] is ours: logged once with its cause at the door, answered 500 or 503. Prevents stringly errors.

use thiserror::Error;

/// A "no" that the sender is told. `status` and `reason` are what goes on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub status: u16,
    pub reason: &'static str,
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $status:literal $reason:literal;)*) => {
        impl Refusal { $($(#[$doc])* pub const $name: Refusal = Refusal { status: $status, reason: $reason };)* }
    };
}

refusals! {
    MALFORMED = 400 "Malformed Command";
    NEED_USER = 400 "User Address Missing or Malformed";
    NEED_ROOM = 400 "Room Address Missing or Malformed";
    FORGED_FROM = 403 "From Does Not Match the Authenticated User";
    NO_IDENTITY = 403 "Sender Identity Missing";
    FOREIGN_SENDER = 403 "Sender Is Not of This Server";
    PATH_NOT_TRUSTED = 403 "Path Is Taken from Trusted Proxies Only";
    IS_A_ROOM = 403 "This Address Is a Room";
    IS_THE_MANAGER = 403 "This Address Takes Room Commands";
    RESERVED = 403 "This Address Is Reserved";
    NOT_A_PERSON = 403 "This Sender Is a Room";
    NOT_YOUR_ACCOUNT = 403 "Not Your Account";
    MEMBERS_ONLY = 403 "Only Members May Watch This Room";
    NO_SUCH_ROOM = 404 "No Such Room";
    NO_SUCH_MEMBER = 404 "No Such Member in This Room";
    NO_SUCH_USER = 404 "No Such User or Room";
    NO_SUCH_DOMAIN = 404 "Domain Not Served Here";
    NO_SUCH_REMINDER = 404 "No Such Reminder";
    NO_SUCH_BUDDY = 404 "No Such Buddy";
    NOT_ASKED = 404 "Nobody Has Asked";
    NOTHING_TO_ACCEPT = 404 "No Invitation to This Room";
    NO_LIST = 400 "Recipient List Missing or Malformed";
    NOBODY_ON_LIST = 404 "Nobody on the List Can Be Written to";
    LIST_TOO_LONG = 413 "Too Many Recipients";
    TOO_LARGE = 413 "Message Too Large";
    SCHEME = 416 "Unsupported URI Scheme";
    BUSY_SENDER = 480 "Too Many Messages, Slow Down";
    BUSY_RECIPIENT = 480 "Too Many Messages for This Recipient, Slow Down";
    BUSY_ROOM = 480 "Too Many Messages in This Room, Slow Down";
    TOO_MANY_STRANGERS = 480 "Too Many New Conversations, Slow Down";
    OWN_COPY = 480 "Loop Detected";
    ROUND = 482 "Loop Detected";
    MAILBOX_FULL = 480 "Mailbox Full";
    NOBODY_THERE = 480 "Nobody There to Take It";
    NOT_ALLOWED = 603 "Not Allowed";
    NOT_WANTED = 603 "The Recipient Takes No Messages from You";
    NO_SETTINGS = 603 "Only Users of This Server Have Settings";
    NOT_A_MEMBER = 603 "Not a Member of This Room";
    ROOM_EXISTS = 603 "Room already exists";
    NAME_TAKEN = 603 "Name Belongs to a User";
    DOMAIN_NOT_SERVED = 603 "Domain Not Served Here";
    ALREADY_THERE = 603 "Already in This Room";
    OWNER_STAYS = 603 "The Owner Cannot Leave";
    ROOM_FULL = 603 "Room Is Full";
    BAD_PRESENCE = 400 "Presence Document Malformed";
    FOREIGN_PRESENCE = 400 "Presence Document Is of Somebody Else";
    UNKNOWN_COMMAND = 400 "Unknown Command";
}

/// A failure of ours. The text is for the log, never for the wire.
#[derive(Debug, Error)]
pub enum Fault {
    /// The store cannot take a write now: full, read-only, locked. Answered 503 with Retry-After.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// The store holds what it should not. Answered 500.
    #[error("store corrupt: {0}")]
    Corrupt(String),
    /// Anything else of ours. Answered 500.
    #[error("{0}")]
    Internal(String),
}
