-- What a person has set for himself; what he has not set has its default.
CREATE TABLE setting (
    account INTEGER NOT NULL,
    key     TEXT    NOT NULL,
    value   TEXT    NOT NULL,
    PRIMARY KEY (account, key)
) WITHOUT ROWID;

-- Who may not write to him.
CREATE TABLE blocked (
    account INTEGER NOT NULL,
    address TEXT    NOT NULL COLLATE NOCASE,       -- user@host
    at      INTEGER NOT NULL,                      -- Unix ms
    PRIMARY KEY (account, address)
) WITHOUT ROWID;
