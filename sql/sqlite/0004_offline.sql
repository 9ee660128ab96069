-- What is to be said later is not said yet: a reminder, for its author or for somebody else.
CREATE TABLE later (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    account   INTEGER NOT NULL,                      -- account.id of the author
    n         INTEGER NOT NULL,                      -- what the author calls it
    due       INTEGER NOT NULL,                      -- Unix ms
    recipient TEXT    NOT NULL COLLATE NOCASE,       -- user@host
    text      TEXT    NOT NULL,
    hops      INTEGER NOT NULL,
    UNIQUE (account, n)
);
CREATE INDEX later_due ON later (due);

-- Direct messages whose author asked to be told if they fail (RFC 5438 §8.2), and was told neither that nor that
-- somebody took them.
CREATE TABLE receipt (
    seq     INTEGER PRIMARY KEY,                     -- log.seq
    account INTEGER NOT NULL,                        -- account.id of the recipient
    author  INTEGER NOT NULL,                        -- account.id
    at      INTEGER NOT NULL,                        -- Unix ms
    expires INTEGER NOT NULL,                        -- Unix ms
    asked   TEXT    NOT NULL                         -- what he asked, as JSON
);
CREATE INDEX receipt_expires ON receipt (expires);
