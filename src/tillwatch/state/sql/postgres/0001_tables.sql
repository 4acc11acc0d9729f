-- The state of one pipeline, in a schema of its own. Tables of running values, one per grain, are made from the
-- patterns beside these. Texts are compared by code point, whatever the database's collation.

CREATE TABLE meta (                        -- single facts: cursor, YStartTime, what the state was made by
  key   text COLLATE "C" PRIMARY KEY,
  value text NOT NULL
);

CREATE TABLE files (                       -- source files in the order in which they were taken
  number   bigint PRIMARY KEY,
  name     text COLLATE "C" NOT NULL,      -- path below the source
  size     bigint NOT NULL,                -- bytes
  modified bigint NOT NULL,                -- nanoseconds since 1970
  status   text COLLATE "C" NOT NULL,      -- reading, done, refused, changed, broken, duplicate
  rows     bigint NOT NULL,                -- landed so far
  digest   text COLLATE "C",               -- SHA-256 of the whole file, once read
  problem  text COLLATE "C"
);

CREATE TABLE chunks (                      -- ingest notes a chunk when landed, detect when processed
  number       bigint PRIMARY KEY,
  file         bigint NOT NULL,
  first_row    bigint NOT NULL,            -- row number in the source file, from 1
  rows         bigint NOT NULL,
  digest       text COLLATE "C" NOT NULL,  -- SHA-256 of the landed chunk
  counted      bigint,                     -- rows = counted + quarantined, once processed
  quarantined  bigint,
  processed_at text COLLATE "C"
);

CREATE TABLE quarantine (                  -- how many rows of a chunk went to the quarantine, by reason
  chunk  bigint NOT NULL,
  reason text COLLATE "C" NOT NULL,
  rows   bigint NOT NULL,
  PRIMARY KEY (chunk, reason)
);

-- customer and merchant are from the key, empty when it has none, or one with NUL in it, which PostgreSQL's texts
-- cannot hold. A key is unique per pattern by a hash, since an index holds no long texts.
CREATE TABLE detections (                  -- one per (pattern, key), in the order of publishing
  seq         bigint PRIMARY KEY,
  chunk       bigint NOT NULL,             -- the first chunk after which the condition held
  pattern     text COLLATE "C" NOT NULL,
  action      text COLLATE "C" NOT NULL,
  key         text COLLATE "C" NOT NULL,   -- JSON of all key columns
  customer    text COLLATE "C" NOT NULL GENERATED ALWAYS AS (
    coalesce(CASE WHEN position('\u0000' IN key) = 0 THEN key::json ->> 'customer' END, '')) STORED,
  merchant    text COLLATE "C" NOT NULL GENERATED ALWAYS AS (
    coalesce(CASE WHEN position('\u0000' IN key) = 0 THEN key::json ->> 'merchant' END, '')) STORED,
  detected_at text COLLATE "C" NOT NULL,   -- detectionTime
  holds       bigint NOT NULL,             -- 1 while the condition holds
  evidence    text COLLATE "C" NOT NULL,   -- JSON
  CONSTRAINT detections_once EXCLUDE USING hash ((pattern || key) WITH =)
);

CREATE INDEX detections_by_key ON detections USING hash (key);

CREATE TABLE turns (                       -- later life of a detection: cleared (holds 0), held again (holds 1)
  seq   bigint NOT NULL,
  chunk bigint NOT NULL,
  holds bigint NOT NULL,
  PRIMARY KEY (seq, chunk)
);

CREATE TABLE outbox (                      -- which detections go into which file; published_at once it is there
  first_seq    bigint PRIMARY KEY,
  last_seq     bigint NOT NULL,
  name         text COLLATE "C" NOT NULL UNIQUE,
  published_at text COLLATE "C"
);
