-- How a person is called: the display name of his last MESSAGE or REGISTER that had one.
ALTER TABLE account ADD COLUMN name TEXT;
