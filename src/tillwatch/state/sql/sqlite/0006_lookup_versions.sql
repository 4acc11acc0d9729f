-- Which content of a lookup was in force from which chunk on. The contents are kept beside the landing zone.

CREATE TABLE lookup_versions (
  name        TEXT NOT NULL,
  number      INTEGER NOT NULL,            -- from 1, of each lookup
  first_chunk INTEGER NOT NULL,
  digest      TEXT NOT NULL,               -- by which versions are told apart: SHA-256 of the file, or of the values
  rows        INTEGER NOT NULL,            -- keys with a value
  kept        TEXT NOT NULL,               -- the object that holds them, by its name in the landing zone
  taken_at    TEXT NOT NULL,
  PRIMARY KEY (name, number)
) STRICT;
