-- How many of the rows of a chunk that were counted a lookup does not have, of lookups that only mark such rows.
CREATE TABLE marked (
  chunk  INTEGER NOT NULL,
  lookup TEXT NOT NULL,
  rows   INTEGER NOT NULL,
  PRIMARY KEY (chunk, lookup)
) STRICT;
