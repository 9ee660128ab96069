-- Domains that are served besides those of the configuration. Not `domain`: Kamailio has a table of that name.
CREATE TABLE served_domain (
    name TEXT PRIMARY KEY COLLATE NOCASE
) WITHOUT ROWID;
