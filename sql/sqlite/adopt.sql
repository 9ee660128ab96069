-- Takes rows that a peer wrote into the house, in one transaction with the start. :head is the newest seq.

-- Rooms and members that a peer had marked as deleted.
DELETE FROM {members} WHERE account IS NULL AND (flag & 8) <> 0;
DELETE FROM {members} WHERE room COLLATE NOCASE IN
    (SELECT 'sip:' || name || '@' || domain FROM {rooms} WHERE conversation IS NULL AND (flag & 2) <> 0);
DELETE FROM {rooms} WHERE conversation IS NULL AND (flag & 2) <> 0;

-- A room keeps the conversation it had, if a peer rewrote its row; else it gets one.
UPDATE {rooms} SET conversation =
    (SELECT max(id) FROM conversation c WHERE c.address = name || '@' || domain AND c.kind = 1 AND c.ended = 0)
    WHERE conversation IS NULL;
INSERT INTO conversation (kind, address, version)
    SELECT 1, name || '@' || domain, 0 FROM {rooms} WHERE conversation IS NULL;
UPDATE {rooms} SET conversation =
    (SELECT max(id) FROM conversation c WHERE c.address = name || '@' || domain AND c.kind = 1 AND c.ended = 0)
    WHERE conversation IS NULL;

-- Members get an account row with a mailbox.
INSERT OR IGNORE INTO account (username, domain, base)
    SELECT username, domain, :head FROM {members} WHERE account IS NULL ORDER BY id;
INSERT INTO conversation (kind, address)
    SELECT 2, username || '@' || domain FROM account WHERE mailbox IS NULL;
UPDATE account SET mailbox =
    (SELECT max(id) FROM conversation c WHERE c.address = username || '@' || account.domain AND c.kind = 2)
    WHERE mailbox IS NULL;

-- Their rooms have moved on: a version judged before is stale.
UPDATE conversation SET version = version + 1 WHERE kind = 1 AND (version = 0 OR id IN
    (SELECT r.conversation FROM {members} m CROSS JOIN {rooms} r
        ON r.name = substr(m.room, 5, instr(m.room, '@') - 5) COLLATE NOCASE
       AND r.domain = substr(m.room, instr(m.room, '@') + 1) COLLATE NOCASE
        WHERE m.account IS NULL));

-- A member sees the log from now on, unless he saw it already.
INSERT OR IGNORE INTO span (account, conversation, since)
    SELECT a.id, r.conversation, :head + 1
    FROM {members} m
    CROSS JOIN account a ON a.username = m.username AND a.domain = m.domain
    CROSS JOIN {rooms} r ON r.name = substr(m.room, 5, instr(m.room, '@') - 5) COLLATE NOCASE
                  AND r.domain = substr(m.room, instr(m.room, '@') + 1) COLLATE NOCASE
    WHERE m.account IS NULL AND (m.flag & 4) = 0 AND NOT EXISTS
        (SELECT 1 FROM span s WHERE s.account = a.id AND s.conversation = r.conversation AND s.until IS NULL);
UPDATE {members} SET account =
    (SELECT id FROM account a WHERE a.username = {members}.username AND a.domain = {members}.domain)
    WHERE account IS NULL;

-- Who was taken out by a peer sees nothing further.
UPDATE span SET until = :head WHERE until IS NULL AND NOT EXISTS
    (SELECT 1 FROM {rooms} r CROSS JOIN account a CROSS JOIN {members} m
        WHERE r.conversation = span.conversation AND a.id = span.account
          AND m.room = 'sip:' || r.name || '@' || r.domain COLLATE NOCASE
          AND m.username = a.username COLLATE NOCASE AND m.domain = a.domain COLLATE NOCASE
          AND (m.flag & 4) = 0);
