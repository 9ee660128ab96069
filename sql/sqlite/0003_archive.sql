-- What was said while a device was away lies above away_from, up to away_to. For #missed; NULL: it never was.
ALTER TABLE device ADD COLUMN away_from INTEGER;
ALTER TABLE device ADD COLUMN away_to   INTEGER;

-- Names this log: the search index of another one is not taken for its own.
INSERT INTO meta (key, value) VALUES ('log', randomblob(16)) ON CONFLICT DO NOTHING;
