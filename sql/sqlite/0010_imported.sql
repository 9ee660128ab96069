-- Messages taken over from another server, by the hash of the row they came from: none is taken twice.
CREATE TABLE imported (
    origin BLOB PRIMARY KEY
) WITHOUT ROWID;
