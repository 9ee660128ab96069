CREATE INDEX IF NOT EXISTS {rooms}_imcd_address ON {rooms} (name COLLATE NOCASE, domain COLLATE NOCASE);
CREATE INDEX IF NOT EXISTS {rooms}_imcd_conversation ON {rooms} (conversation);
CREATE INDEX IF NOT EXISTS {members}_imcd_room
    ON {members} (room COLLATE NOCASE, username COLLATE NOCASE, domain COLLATE NOCASE);
CREATE INDEX IF NOT EXISTS {rooms}_imcd_new ON {rooms} (id) WHERE conversation IS NULL;
CREATE INDEX IF NOT EXISTS {members}_imcd_new ON {members} (id) WHERE account IS NULL;
CREATE INDEX IF NOT EXISTS {members}_imcd_invited ON {members} (invited_at) WHERE invited_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS {members}_imcd_account ON {members} (account);
