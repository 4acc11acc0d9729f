-- A pattern may detect a key again, tell when a detection ceases to hold, and be in the shadow: recorded, not published.
-- Patterns may change between two chunks: which were in force when is kept.

DROP VIEW ledger;

CREATE TABLE detections_new (              -- in the order of publishing
  seq         INTEGER PRIMARY KEY,
  chunk       INTEGER NOT NULL,            -- the chunk after which the condition held
  pattern     TEXT NOT NULL,
  action      TEXT NOT NULL,
  key         TEXT NOT NULL,               -- JSON of all key columns
  customer    TEXT NOT NULL AS (coalesce(key ->> 'customer', '')),  -- from the key, empty when it has none
  merchant    TEXT NOT NULL AS (coalesce(key ->> 'merchant', '')),
  detected_at TEXT NOT NULL,               -- detectionTime
  holds       INTEGER NOT NULL,            -- 1 while the condition holds
  evidence    TEXT NOT NULL,               -- JSON
  occasion    TEXT NOT NULL,               -- empty where a key is detected once, else the chunk
  UNIQUE (pattern, key, occasion)
) STRICT;

INSERT INTO detections_new (seq, chunk, pattern, action, key, detected_at, holds, evidence, occasion)
SELECT seq, chunk, pattern, action, key, detected_at, holds, evidence, '' FROM detections;

DROP TABLE detections;

ALTER TABLE detections_new RENAME TO detections;

CREATE TABLE shadow_detections (           -- of patterns in the shadow, with a seq of their own
  seq         INTEGER PRIMARY KEY,
  chunk       INTEGER NOT NULL,
  pattern     TEXT NOT NULL,
  action      TEXT NOT NULL,
  key         TEXT NOT NULL,
  customer    TEXT NOT NULL AS (coalesce(key ->> 'customer', '')),
  merchant    TEXT NOT NULL AS (coalesce(key ->> 'merchant', '')),
  detected_at TEXT NOT NULL,
  holds       INTEGER NOT NULL,
  evidence    TEXT NOT NULL,
  occasion    TEXT NOT NULL,
  UNIQUE (pattern, key, occasion)
) STRICT;

CREATE TABLE shadow_turns (                -- later life of these
  seq   INTEGER NOT NULL,
  chunk INTEGER NOT NULL,
  holds INTEGER NOT NULL,
  PRIMARY KEY (seq, chunk)
) STRICT;

CREATE TABLE cleared (                     -- detections that ceased to hold, of patterns that publish it, in order
  number     INTEGER PRIMARY KEY,
  seq        INTEGER NOT NULL,             -- of the detection
  chunk      INTEGER NOT NULL,             -- the chunk after which it did not hold any more
  cleared_at TEXT NOT NULL,
  UNIQUE (seq, chunk)
) STRICT;

CREATE TABLE cleared_outbox (              -- which of them go into which file; published_at once it is there
  first_number INTEGER PRIMARY KEY,
  last_number  INTEGER NOT NULL,
  name         TEXT NOT NULL UNIQUE,
  published_at TEXT
) STRICT;

CREATE TABLE rule_sets (                   -- the patterns in force, from a chunk on; the last one is in force now
  number      INTEGER PRIMARY KEY,
  first_chunk INTEGER NOT NULL,
  hash        TEXT NOT NULL,             -- SHA-256 of the meaning
  meaning     TEXT NOT NULL,             -- all that detections depend on beside the rows, a line each
  rules       TEXT NOT NULL,             -- JSON: texts and thresholds of the patterns, features of the configuration
  taken_at    TEXT NOT NULL
) STRICT;

-- As it was.
CREATE VIEW ledger AS
SELECT
  c.number, f.name AS file, c.first_row, c.rows, c.bytes, c.digest, c.landed_at,
  c.counted, c.quarantined, c.processed_at, c.rows - c.counted - c.quarantined AS missing,
  coalesce(d.detections, 0) AS detections, d.published_at,
  CASE
    WHEN c.counted IS NULL THEN 'landed'
    WHEN coalesce(d.waiting, 0) > 0 THEN 'consumed'
    ELSE 'published'
  END AS status
FROM chunks AS c
LEFT JOIN files AS f ON f.number = c.file
LEFT JOIN (
  SELECT
    chunk, count(*) AS detections, max(published_at) AS published_at,
    sum(CASE WHEN published_at IS NULL THEN 1 ELSE 0 END) AS waiting
  FROM detections
  LEFT JOIN outbox ON seq BETWEEN first_seq AND last_seq
  AND first_seq = (SELECT max(first_seq) FROM outbox WHERE first_seq <= seq)
  GROUP BY chunk
) AS d ON d.chunk = c.number;
