-- The search index: a file of its own beside the database, made anew from the log whenever it is missing.
-- rowid is log.seq. No text is kept in it, only which word stands where.
CREATE VIRTUAL TABLE words USING fts5 (
    place,                                         -- 'c' and the conversation's id
    text,
    content = '', contentless_delete = 1,
    tokenize = "unicode61 remove_diacritics 2"
);
-- 'log': whose index this is; 'cursor': indexed up to this seq; 'swept': walked up to this seq for what is gone.
CREATE TABLE state (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;
