-- The state of one pipeline. Tables of running values, one per grain, are made from the patterns beside these.

CREATE TABLE meta (          -- single facts: cursor, YStartTime, what the state was made by
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;

CREATE TABLE files (         -- source files in the order in which they were taken
  number   INTEGER PRIMARY KEY,
  name     TEXT NOT NULL,                  -- path below the source
  size     INTEGER NOT NULL,               -- bytes
  modified INTEGER NOT NULL,               -- nanoseconds since 1970
  status   TEXT NOT NULL,                  -- reading, done, refused, changed, broken, duplicate
  rows     INTEGER NOT NULL,               -- landed so far
  digest   TEXT,                           -- SHA-256 of the whole file, once read
  problem  TEXT
) STRICT;

CREATE TABLE chunks (        -- ingest notes a chunk when landed, detect when processed
  number      INTEGER PRIMARY KEY,
  file        INTEGER NOT NULL,
  first_row   INTEGER NOT NULL,            -- row number in the source file, from 1
  rows        INTEGER NOT NULL,
  digest      TEXT NOT NULL,               -- SHA-256 of the landed chunk
  counted     INTEGER,                     -- rows = counted + quarantined, once processed
  quarantined INTEGER,
  processed_at TEXT
) STRICT;

CREATE TABLE quarantine (    -- how many rows of a chunk went to the quarantine, by reason
  chunk  INTEGER NOT NULL,
  reason TEXT NOT NULL,
  rows   INTEGER NOT NULL,
  PRIMARY KEY (chunk, reason)
) STRICT;

CREATE TABLE detections (    -- one per (pattern, key), in the order of publishing
  seq         INTEGER PRIMARY KEY,
  chunk       INTEGER NOT NULL,            -- the first chunk after which the condition held
  pattern     TEXT NOT NULL,
  action      TEXT NOT NULL,
  key         TEXT NOT NULL,               -- JSON of all key columns
  customer    TEXT NOT NULL AS (coalesce(key ->> 'customer', '')),  -- from the key, empty when it has none
  merchant    TEXT NOT NULL AS (coalesce(key ->> 'merchant', '')),
  detected_at TEXT NOT NULL,               -- detectionTime
  holds       INTEGER NOT NULL,            -- 1 while the condition holds
  evidence    TEXT NOT NULL,               -- JSON
  UNIQUE (pattern, key)
) STRICT;

CREATE TABLE turns (         -- later life of a detection: cleared (holds 0), held again (holds 1)
  seq   INTEGER NOT NULL,
  chunk INTEGER NOT NULL,
  holds INTEGER NOT NULL,
  PRIMARY KEY (seq, chunk)
) STRICT;

CREATE TABLE outbox (        -- which detections go into which file; published_at once it is there
  first_seq    INTEGER PRIMARY KEY,
  last_seq     INTEGER NOT NULL,
  name         TEXT NOT NULL UNIQUE,
  published_at TEXT
) STRICT;
