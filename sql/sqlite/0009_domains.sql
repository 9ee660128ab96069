-- Domains that are served besides those of the configuration.
CREATE TABLE domain (
    name TEXT PRIMARY KEY COLLATE NOCASE
) WITHOUT ROWID;
