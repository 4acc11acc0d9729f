-- A pattern may detect a key again, tell when a detection ceases to hold, and be in the shadow: recorded, not published.
-- Patterns may change between two chunks: which were in force when is kept.

-- Empty where a key is detected once, else the chunk.
ALTER TABLE detections ADD COLUMN occasion text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE detections ALTER COLUMN occasion DROP DEFAULT;
ALTER TABLE detections DROP CONSTRAINT detections_once;
ALTER TABLE detections ADD CONSTRAINT detections_once EXCLUDE USING hash ((pattern || key || occasion) WITH =);

CREATE TABLE shadow_detections (           -- of patterns in the shadow, with a seq of their own
  seq         bigint PRIMARY KEY,
  chunk       bigint NOT NULL,
  pattern     text COLLATE "C" NOT NULL,
  action      text COLLATE "C" NOT NULL,
  key         text COLLATE "C" NOT NULL,
  customer    text COLLATE "C" NOT NULL GENERATED ALWAYS AS (
    coalesce(CASE WHEN position('\u0000' IN key) = 0 THEN key::json ->> 'customer' END, '')) STORED,
  merchant    text COLLATE "C" NOT NULL GENERATED ALWAYS AS (
    coalesce(CASE WHEN position('\u0000' IN key) = 0 THEN key::json ->> 'merchant' END, '')) STORED,
  detected_at text COLLATE "C" NOT NULL,
  holds       bigint NOT NULL,
  evidence    text COLLATE "C" NOT NULL,
  occasion    text COLLATE "C" NOT NULL,
  CONSTRAINT shadow_detections_once EXCLUDE USING hash ((pattern || key || occasion) WITH =)
);

CREATE INDEX shadow_detections_by_key ON shadow_detections USING hash (key);

CREATE TABLE shadow_turns (                -- later life of these
  seq   bigint NOT NULL,
  chunk bigint NOT NULL,
  holds bigint NOT NULL,
  PRIMARY KEY (seq, chunk)
);

CREATE TABLE cleared (                     -- detections that ceased to hold, of patterns that publish it, in order
  number     bigint PRIMARY KEY,
  seq        bigint NOT NULL,              -- of the detection
  chunk      bigint NOT NULL,              -- the chunk after which it did not hold any more
  cleared_at text COLLATE "C" NOT NULL,
  UNIQUE (seq, chunk)
);

CREATE TABLE cleared_outbox (              -- which of them go into which file; published_at once it is there
  first_number bigint PRIMARY KEY,
  last_number  bigint NOT NULL,
  name         text COLLATE "C" NOT NULL UNIQUE,
  published_at text COLLATE "C"
);

CREATE TABLE rule_sets (                   -- the patterns in force, from a chunk on; the last one is in force now
  number      bigint PRIMARY KEY,
  first_chunk bigint NOT NULL,
  hash        text COLLATE "C" NOT NULL,             -- SHA-256 of the meaning
  meaning     text COLLATE "C" NOT NULL,             -- all that detections depend on beside the rows, a line each
  rules       text COLLATE "C" NOT NULL,             -- JSON: texts and thresholds of the patterns, features of the configuration
  taken_at    text COLLATE "C" NOT NULL
);
