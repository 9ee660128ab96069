-- The tables of the imc module, run at every start: they may have been made by one of the peers.
-- Names are configurable. Columns that a peer's table lacks are added by the daemon before the indexes.
CREATE TABLE IF NOT EXISTS {rooms} (
    id           INTEGER PRIMARY KEY NOT NULL,
    name         VARCHAR(64) NOT NULL COLLATE NOCASE,
    domain       VARCHAR(64) NOT NULL COLLATE NOCASE,
    flag         INTEGER NOT NULL,                 -- 1 private
    conversation INTEGER,                          -- NULL: written by a peer
    CONSTRAINT {rooms}_name_domain_idx UNIQUE (name, domain)
);
CREATE TABLE IF NOT EXISTS {members} (
    id         INTEGER PRIMARY KEY NOT NULL,       -- rises in the order of joining
    username   VARCHAR(64) NOT NULL COLLATE NOCASE,
    domain     VARCHAR(64) NOT NULL COLLATE NOCASE,
    room       VARCHAR(64) NOT NULL COLLATE NOCASE, -- sip:room@domain
    flag       INTEGER NOT NULL,                   -- 1 owner, 2 admin, 4 invited
    account    INTEGER,                            -- NULL: written by a peer
    inviter    TEXT,
    invited_at INTEGER,                            -- Unix ms
    CONSTRAINT {members}_account_room_idx UNIQUE (username, domain, room)
);
