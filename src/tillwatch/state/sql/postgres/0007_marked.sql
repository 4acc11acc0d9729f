-- How many of the rows of a chunk that were counted a lookup does not have, of lookups that only mark such rows.
CREATE TABLE marked (
  chunk  bigint NOT NULL,
  lookup text COLLATE "C" NOT NULL,
  rows   bigint NOT NULL,
  PRIMARY KEY (chunk, lookup)
);
