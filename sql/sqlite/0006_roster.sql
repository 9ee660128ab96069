-- Who may see when whom is there: a row each way. Addresses, not accounts: one can ask, and be asked for, before he is
-- known, and somebody abroad is never an account.
CREATE TABLE roster (
    owner     TEXT    NOT NULL COLLATE NOCASE,     -- user@host
    contact   TEXT    NOT NULL COLLATE NOCASE,     -- user@host
    flags     INTEGER NOT NULL,                    -- 1 sees, 2 is seen, 4 has asked, 8 wants to see, 16 has said no
    nick      TEXT,
    in_groups TEXT,                                -- a line each
    PRIMARY KEY (owner, contact)
) WITHOUT ROWID;
CREATE INDEX roster_contact ON roster (contact, flags);

-- When whom was asked by whom; forgotten after a week.
CREATE TABLE question (
    asker    TEXT    NOT NULL COLLATE NOCASE,      -- user@host
    asked    TEXT    NOT NULL COLLATE NOCASE,      -- user@host
    asked_at INTEGER NOT NULL,                     -- Unix ms
    PRIMARY KEY (asker, asked)
) WITHOUT ROWID;

-- How somebody says that he is, until he says otherwise.
CREATE TABLE status (
    account INTEGER PRIMARY KEY,                   -- account.id
    state   TEXT    NOT NULL,                      -- online, away, busy, on-the-phone, extended-away, offline
    note    TEXT    NOT NULL,
    at      INTEGER NOT NULL                       -- Unix ms
);

-- His picture.
CREATE TABLE avatar (
    account INTEGER PRIMARY KEY,                   -- account.id
    media   TEXT    NOT NULL,
    sha1    TEXT    NOT NULL,                      -- of data, lower-case hex
    data    BLOB    NOT NULL
);
