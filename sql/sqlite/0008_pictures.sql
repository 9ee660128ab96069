-- Pictures are asked for by their hash.
CREATE INDEX avatar_hash ON avatar (sha1);
