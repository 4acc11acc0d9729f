-- Rows that the configuration's `where` leaves out are a third number: rows = counted + quarantined + filtered.
ALTER TABLE chunks ADD COLUMN filtered INTEGER;

UPDATE chunks SET filtered = 0 WHERE counted IS NOT NULL;

DROP VIEW ledger;

-- As before; missing is what is neither counted nor quarantined nor filtered out: always 0.
CREATE VIEW ledger AS
SELECT
  c.number, f.name AS file, c.first_row, c.rows, c.bytes, c.digest, c.landed_at,
  c.counted, c.quarantined, c.filtered, c.processed_at,
  c.rows - c.counted - c.quarantined - c.filtered AS missing,
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
