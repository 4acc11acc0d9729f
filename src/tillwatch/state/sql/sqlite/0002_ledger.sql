-- The ledger says when and how large chunks landed, and which content of a file elsewhere was taken; further outputs
-- note what was delivered to them.

-- Size of the landed object, where it is known.
ALTER TABLE chunks ADD COLUMN bytes INTEGER;

-- When ingest noted the chunk; NULL when a restart found it landed.
ALTER TABLE chunks ADD COLUMN landed_at TEXT;

-- What a place knows a source file by, empty where that is its name, and what it calls the content, empty on a disk.
ALTER TABLE files ADD COLUMN id TEXT NOT NULL DEFAULT '';
ALTER TABLE files ADD COLUMN revision TEXT NOT NULL DEFAULT '';

CREATE TABLE deliveries (                  -- which files of the outbox a further output has
  output       TEXT NOT NULL,
  first_seq    INTEGER NOT NULL,
  delivered_at TEXT NOT NULL,
  PRIMARY KEY (output, first_seq)
) STRICT;

-- Producer and consumer side by side, a row a chunk. status: landed, then consumed, then published, which it is once
-- every detection of it is in a file that is there. missing is what is neither counted nor quarantined: always 0.
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
