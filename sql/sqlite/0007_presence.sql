-- What outlives a restart of presence: written behind, at most a second late.

-- One thing that a phone of somebody publishes (RFC 3903).
CREATE TABLE publication (
    id         INTEGER PRIMARY KEY,
    address    TEXT    NOT NULL,
    etag       INTEGER NOT NULL,
    -- Milliseconds since 1970.
    expires_at INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    -- Key of the registered contact that it came from.
    phone      TEXT,
    -- Hash of the document that it began with.
    first      INTEGER NOT NULL,
    body       BLOB    NOT NULL
) STRICT;
CREATE INDEX publication_address ON publication (address);

-- A dialog in which somebody is told of something (RFC 6665).
CREATE TABLE subscription (
    -- Hash of the dialog's name.
    id         INTEGER PRIMARY KEY,
    expires_at INTEGER NOT NULL,
    -- JSON; the store does not look into it.
    data       TEXT    NOT NULL
) STRICT;
