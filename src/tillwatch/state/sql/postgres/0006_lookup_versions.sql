-- Which content of a lookup was in force from which chunk on. The contents are kept beside the landing zone.

CREATE TABLE lookup_versions (
  name        text COLLATE "C" NOT NULL,
  number      bigint NOT NULL,             -- from 1, of each lookup
  first_chunk bigint NOT NULL,
  digest      text COLLATE "C" NOT NULL,   -- by which versions are told apart: SHA-256 of the file, or of the values
  rows        bigint NOT NULL,             -- keys with a value
  kept        text COLLATE "C" NOT NULL,   -- the object that holds them, by its name in the landing zone
  taken_at    text COLLATE "C" NOT NULL,
  PRIMARY KEY (name, number)
);
