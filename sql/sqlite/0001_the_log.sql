-- Log what is said; keep state for what is.

-- A room's conversation or an account's mailbox. Ids are never used twice, hence AUTOINCREMENT.
-- It outlives its room until the last entry of it is trimmed.
CREATE TABLE conversation (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    kind    INTEGER NOT NULL,                      -- 1 room, 2 mailbox
    address TEXT    NOT NULL COLLATE NOCASE,       -- user@host
    title   TEXT,                                  -- display name; NULL: the user part
    version INTEGER NOT NULL DEFAULT 0,            -- of the room; +1 with every change
    ended   INTEGER NOT NULL DEFAULT 0             -- 1: the room was destroyed
);
CREATE INDEX conversation_address ON conversation (address);

-- Every address that state is kept for. Rows stay, so that what somebody said keeps its author.
CREATE TABLE account (
    id            INTEGER PRIMARY KEY,
    username      TEXT    NOT NULL COLLATE NOCASE,
    domain        TEXT    NOT NULL COLLATE NOCASE,
    mailbox       INTEGER,                         -- conversation.id
    base          INTEGER NOT NULL DEFAULT 0,      -- a new device starts here at the earliest
    created       INTEGER,                         -- Unix ms; NULL: never an account, only an address
    realm         TEXT,
    md5           TEXT,                            -- H(user:realm:password)
    md5_domain    TEXT,                            -- H(user@domain:realm:password)
    sha256        TEXT,
    sha256_domain TEXT,
    UNIQUE (username, domain)
);

-- What was said. seq is one sequence over all conversations, in commit order, with gaps.
CREATE TABLE log (
    seq          INTEGER PRIMARY KEY,
    conversation INTEGER NOT NULL,
    kind         INTEGER NOT NULL,                 -- 1 post, 2 notice, 3 direct, 4 sent
    sender       INTEGER,                          -- account.id
    peer         TEXT,                             -- user@host
    source       TEXT,                             -- the sender's device
    content_type TEXT,
    headers      TEXT,
    body         BLOB    NOT NULL,
    at           INTEGER NOT NULL,                 -- Unix ms
    expires      INTEGER NOT NULL,                 -- Unix ms
    hops         INTEGER NOT NULL,
    private      INTEGER NOT NULL,
    refers       INTEGER                           -- log.seq
);
CREATE UNIQUE INDEX log_conversation ON log (conversation, seq);

-- What a member may see: an interval of a room's log, both ends inclusive. A mailbox needs no row.
CREATE TABLE span (
    account      INTEGER NOT NULL,
    conversation INTEGER NOT NULL,
    since        INTEGER NOT NULL,
    until        INTEGER,                          -- NULL while he belongs
    PRIMARY KEY (account, conversation, since)
) WITHOUT ROWID;
CREATE INDEX span_conversation ON span (conversation, account);

CREATE TABLE device (
    account  INTEGER NOT NULL,
    instance TEXT    NOT NULL,
    position INTEGER NOT NULL,                     -- taken up to this seq
    epoch    INTEGER NOT NULL DEFAULT 0,
    seen     INTEGER NOT NULL,                     -- Unix ms
    PRIMARY KEY (account, instance)
) WITHOUT ROWID;

CREATE TABLE binding (
    account INTEGER NOT NULL,
    key     TEXT    NOT NULL,
    data    TEXT    NOT NULL,                      -- JSON
    expires INTEGER NOT NULL,                      -- Unix ms
    PRIMARY KEY (account, key)
) WITHOUT ROWID;

-- What a request was answered. Trimmed by walking it, so that no second index is paid for on every append.
CREATE TABLE accepted (
    origin BLOB    PRIMARY KEY,
    status INTEGER NOT NULL,
    body   INTEGER NOT NULL,
    at     INTEGER NOT NULL                        -- Unix ms
) WITHOUT ROWID;

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;
