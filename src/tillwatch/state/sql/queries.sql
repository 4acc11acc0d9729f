-- Every statement of the state stores, by name, in SQL that SQLite and PostgreSQL both speak. Values are bound, never
-- pasted in; ? stands for one.

-- name: get_meta
SELECT value FROM meta WHERE key = ?;

-- name: set_meta
INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: files
SELECT number, name, size, modified, id, revision, status, rows, digest, problem FROM files ORDER BY number;

-- name: put_file
INSERT INTO files (number, name, size, modified, id, revision, status, rows, digest, problem)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (number) DO UPDATE SET
  name = excluded.name, size = excluded.size, modified = excluded.modified, id = excluded.id,
  revision = excluded.revision, status = excluded.status, rows = excluded.rows, digest = excluded.digest,
  problem = excluded.problem;

-- name: put_landed
-- A chunk may have been processed before ingest notes it, and a restart notes it again: what is known stays.
INSERT INTO chunks (number, file, first_row, rows, digest, bytes, landed_at) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (number) DO UPDATE SET
  bytes = coalesce(chunks.bytes, excluded.bytes), landed_at = coalesce(chunks.landed_at, excluded.landed_at);

-- name: put_processed
INSERT INTO chunks (number, file, first_row, rows, digest, counted, quarantined, filtered, processed_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (number) DO UPDATE SET
  counted = excluded.counted, quarantined = excluded.quarantined, filtered = excluded.filtered,
  processed_at = excluded.processed_at;

-- name: chunks
SELECT number, file, first_row, rows, digest, counted, quarantined, filtered FROM chunks ORDER BY number;

-- name: processed
SELECT number, processed_at FROM chunks WHERE processed_at IS NOT NULL ORDER BY number;

-- name: digests
SELECT number, digest FROM chunks WHERE number BETWEEN ? AND ?;

-- name: put_quarantine
INSERT INTO quarantine (chunk, reason, rows) VALUES (?, ?, ?);

-- name: quarantined
SELECT reason, CAST(sum(rows) AS bigint) FROM quarantine GROUP BY reason ORDER BY reason;

-- name: put_marked
INSERT INTO marked (chunk, lookup, rows) VALUES (?, ?, ?);

-- name: marked
SELECT lookup, CAST(sum(rows) AS bigint) FROM marked GROUP BY lookup ORDER BY lookup;

-- name: put_detection
INSERT INTO detections (seq, chunk, pattern, action, key, detected_at, holds, evidence, occasion)
VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?);

-- name: detections
SELECT seq, chunk, pattern, action, key, detected_at, holds, evidence, occasion, name
FROM detections LEFT JOIN outbox ON seq BETWEEN first_seq AND last_seq
AND first_seq = (SELECT max(first_seq) FROM outbox WHERE first_seq <= seq)
WHERE seq BETWEEN ? AND ? ORDER BY seq;

-- name: put_turn
-- Of the last detection up to the chunk: on a transaction it can cease to hold in the chunk that brought it.
INSERT INTO turns (seq, chunk, holds)
SELECT max(seq), ?, ? FROM detections WHERE pattern = ? AND key = ? AND chunk <= ?;

-- name: set_holds
UPDATE detections SET holds = ? WHERE pattern = ? AND key = ? AND chunk <= ?;

-- name: turns
SELECT seq, chunk, holds FROM turns WHERE chunk < ? ORDER BY chunk, seq;

-- name: next_shadow_seq
SELECT coalesce(max(seq), 0) + 1 FROM shadow_detections;

-- name: put_shadow_detection
INSERT INTO shadow_detections (seq, chunk, pattern, action, key, detected_at, holds, evidence, occasion)
VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?);

-- name: shadow_detections
SELECT seq, chunk, pattern, action, key, detected_at, holds, evidence, occasion, NULL
FROM shadow_detections WHERE seq BETWEEN ? AND ? ORDER BY seq;

-- name: put_shadow_turn
INSERT INTO shadow_turns (seq, chunk, holds)
SELECT max(seq), ?, ? FROM shadow_detections WHERE pattern = ? AND key = ? AND chunk <= ?;

-- name: set_shadow_holds
UPDATE shadow_detections SET holds = ? WHERE pattern = ? AND key = ? AND chunk <= ?;

-- name: shadow_turns
SELECT seq, chunk, holds FROM shadow_turns WHERE chunk < ? ORDER BY chunk, seq;

-- name: by_shadow_pattern
SELECT pattern, count(*) FROM shadow_detections GROUP BY pattern;

-- name: next_cleared
SELECT coalesce(max(number), 0) + 1 FROM cleared;

-- name: put_cleared
-- The last detection before the chunk is the one that ceased to hold.
INSERT INTO cleared (number, seq, chunk, cleared_at)
SELECT ?, max(seq), ?, ? FROM detections WHERE pattern = ? AND key = ? AND chunk <= ?;

-- name: cleared
SELECT cleared.number, cleared.seq, cleared.chunk, pattern, action, key, cleared_at, name
FROM cleared JOIN detections ON detections.seq = cleared.seq
LEFT JOIN cleared_outbox ON cleared.number BETWEEN first_number AND last_number
WHERE cleared.number BETWEEN ? AND ? ORDER BY cleared.number;

-- name: put_cleared_plan
INSERT INTO cleared_outbox (first_number, last_number, name) VALUES (?, ?, ?);

-- name: last_planned_cleared
SELECT coalesce(max(last_number), 0) FROM cleared_outbox;

-- name: cleared_outbox
SELECT name, first_number, last_number, published_at FROM cleared_outbox ORDER BY first_number;

-- name: unpublished_cleared
SELECT name, first_number, last_number, published_at FROM cleared_outbox
WHERE published_at IS NULL ORDER BY first_number;

-- name: set_cleared_published
UPDATE cleared_outbox SET published_at = ? WHERE first_number = ?;

-- name: rule_sets
SELECT first_chunk, hash, meaning, rules, taken_at FROM rule_sets ORDER BY number;

-- name: put_rule_set
INSERT INTO rule_sets (number, first_chunk, hash, meaning, rules, taken_at)
SELECT coalesce(max(number), 0) + 1, ?, ?, ?, ?, ? FROM rule_sets;

-- name: drop_rule_sets
-- Those that nothing was judged by.
DELETE FROM rule_sets WHERE first_chunk >= ?;

-- name: lookup_versions
SELECT name, number, first_chunk, digest, rows, kept, taken_at FROM lookup_versions ORDER BY first_chunk, name, number;

-- name: put_lookup_version
INSERT INTO lookup_versions (name, number, first_chunk, digest, rows, kept, taken_at) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: put_plan
INSERT INTO outbox (first_seq, last_seq, name) VALUES (?, ?, ?);

-- name: last_planned
SELECT coalesce(max(last_seq), 0) FROM outbox;

-- name: outbox
SELECT name, first_seq, last_seq, published_at FROM outbox ORDER BY first_seq;

-- name: unpublished
SELECT name, first_seq, last_seq, published_at FROM outbox WHERE published_at IS NULL ORDER BY first_seq;

-- name: set_published
UPDATE outbox SET published_at = ? WHERE first_seq = ?;

-- name: by_pattern
SELECT pattern, count(*) FROM detections GROUP BY pattern;

-- name: totals
SELECT
  count(*), CAST(coalesce(sum(rows), 0) AS bigint), count(counted),
  CAST(coalesce(sum(counted), 0) AS bigint), CAST(coalesce(sum(quarantined), 0) AS bigint),
  CAST(coalesce(sum(filtered), 0) AS bigint)
FROM chunks;

-- name: next_chunk
SELECT coalesce(max(number) + 1, 0) FROM chunks;

-- name: next_seq
SELECT coalesce(max(seq), 0) + 1 FROM detections;

-- name: undelivered
SELECT name, first_seq, last_seq, published_at FROM outbox
WHERE first_seq NOT IN (SELECT first_seq FROM deliveries WHERE output = ?) ORDER BY first_seq;

-- name: put_delivered
INSERT INTO deliveries (output, first_seq, delivered_at) VALUES (?, ?, ?) ON CONFLICT (output, first_seq) DO NOTHING;

-- name: pulse
SELECT
  (SELECT coalesce(max(number) + 1, 0) FROM chunks),
  (SELECT coalesce(max(value), '0') FROM meta WHERE key = 'cursor'),
  (SELECT coalesce(max(value), '0') FROM meta WHERE key = 'tables'),
  (SELECT coalesce(max(seq), 0) FROM detections),
  (SELECT coalesce(max(last_seq), 0) FROM outbox WHERE published_at IS NOT NULL),
  (SELECT coalesce(max(number), 0) FROM rule_sets),
  (SELECT coalesce(max(value), '') FROM meta WHERE key = 'commit');

-- name: flow_landed
-- 18 characters of a time are ten seconds: 2026-11-20T13:05:0
SELECT min(landed_at), count(*), CAST(sum(rows) AS bigint), 0, min(number) FROM chunks
WHERE number >= ? AND landed_at >= ? GROUP BY substr(landed_at, 1, 18) ORDER BY 1;

-- name: flow_processed
SELECT min(processed_at), count(*), CAST(sum(rows) AS bigint), CAST(sum(quarantined) AS bigint), min(number) FROM chunks
WHERE number >= ? AND processed_at >= ? GROUP BY substr(processed_at, 1, 18) ORDER BY 1;

-- name: chunk_times
SELECT
  c.number, coalesce(f.name, ''), c.first_row, c.rows, c.bytes, c.landed_at, c.counted, c.quarantined, c.filtered,
  c.processed_at
FROM chunks AS c LEFT JOIN files AS f ON f.number = c.file
WHERE c.number BETWEEN ? AND ? ORDER BY c.number;

-- name: actions
SELECT pattern, action, count(*) FROM detections GROUP BY pattern, action ORDER BY pattern, action;

-- name: newest
-- What is not asked for is compared with itself.
SELECT seq, chunk, pattern, action, key, detected_at, holds, evidence, occasion FROM detections
WHERE seq < ? AND pattern = coalesce(?, pattern) AND action = coalesce(?, action)
AND customer = coalesce(?, customer) AND merchant = coalesce(?, merchant)
AND detected_at >= ? AND detected_at < ? AND lower(key) LIKE lower(?) ESCAPE '!'
ORDER BY seq DESC LIMIT ?;

-- name: span
SELECT count(*), min(detected_at), max(detected_at) FROM detections
WHERE pattern = coalesce(?, pattern) AND action = coalesce(?, action)
AND customer = coalesce(?, customer) AND merchant = coalesce(?, merchant)
AND detected_at >= ? AND detected_at < ? AND lower(key) LIKE lower(?) ESCAPE '!';

-- name: counts
SELECT pattern, substr(detected_at, 1, ?), count(*) FROM detections
WHERE pattern = coalesce(?, pattern) AND action = coalesce(?, action)
AND customer = coalesce(?, customer) AND merchant = coalesce(?, merchant)
AND detected_at >= ? AND detected_at < ? AND lower(key) LIKE lower(?) ESCAPE '!'
GROUP BY 1, 2 ORDER BY 2, 1;

-- name: activities
SELECT
  mechanism, run, host, pid, began_at, beat_at, ended_at, how, retries, errors, last_trouble, last_trouble_at
FROM activity ORDER BY mechanism DESC;

-- name: put_activity
INSERT INTO activity (
  mechanism, run, host, pid, began_at, beat_at, ended_at, how, retries, errors, last_trouble, last_trouble_at
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (mechanism) DO UPDATE SET
  run = excluded.run, host = excluded.host, pid = excluded.pid, began_at = excluded.began_at,
  beat_at = excluded.beat_at, ended_at = excluded.ended_at, how = excluded.how, retries = excluded.retries,
  errors = excluded.errors, last_trouble = excluded.last_trouble, last_trouble_at = excluded.last_trouble_at;

-- name: set_activity
-- Not of a run that another one has followed.
UPDATE activity SET
  beat_at = ?, ended_at = ?, how = ?, retries = ?, errors = ?, last_trouble = ?, last_trouble_at = ?
WHERE mechanism = ? AND run = ?;

-- name: waiting_since
SELECT landed_at FROM chunks
WHERE number = coalesce((SELECT CAST(value AS bigint) FROM meta WHERE key = 'cursor'), 0) AND counted IS NULL;

-- name: chunks_of_days
SELECT min(number), max(number) FROM chunks WHERE substr(processed_at, 1, 10) BETWEEN ? AND ?;

-- name: chunk_figures
SELECT number, rows, counted, quarantined, filtered, landed_at, processed_at
FROM chunks WHERE number BETWEEN ? AND ? ORDER BY number;

-- name: files_of_chunks
-- The files that chunks are of, the last ones first.
SELECT f.name, f.status, f.size, f.problem, c.chunks, c.landed, c.first_chunk, c.last_chunk
FROM (
  SELECT
    file, count(*) AS chunks, CAST(sum(rows) AS bigint) AS landed, min(number) AS first_chunk,
    max(number) AS last_chunk
  FROM chunks WHERE number BETWEEN ? AND ? GROUP BY file
) AS c JOIN files AS f ON f.number = c.file ORDER BY f.number DESC LIMIT ?;

-- name: count_files_of_chunks
SELECT count(DISTINCT file) FROM chunks WHERE number BETWEEN ? AND ?;

-- name: found_in_chunks
SELECT pattern, action, count(*), CAST(sum(holds) AS bigint), min(chunk), max(chunk), min(seq), max(seq)
FROM detections WHERE chunk BETWEEN ? AND ? GROUP BY pattern, action ORDER BY pattern, action;

-- name: found_in_shadow
SELECT pattern, action, count(*), CAST(sum(holds) AS bigint), min(chunk), max(chunk), min(seq), max(seq)
FROM shadow_detections WHERE chunk BETWEEN ? AND ? GROUP BY pattern, action ORDER BY pattern, action;

-- name: growth
-- Detections by pattern in groups of so many chunks.
SELECT (chunk - ?) / ? AS bin, pattern, count(*)
FROM detections WHERE seq BETWEEN ? AND ? GROUP BY bin, pattern ORDER BY bin, pattern;

-- name: seqs_of_chunks
-- Those of a chunk follow each other.
SELECT chunk, min(seq), max(seq) FROM detections WHERE seq BETWEEN ? AND ? GROUP BY chunk ORDER BY chunk;

-- name: top_merchants
SELECT merchant, pattern, count(*) FROM detections
WHERE seq BETWEEN ? AND ? AND merchant IN (
  SELECT merchant FROM detections WHERE seq BETWEEN ? AND ? AND merchant <> ''
  GROUP BY merchant ORDER BY count(*) DESC, merchant LIMIT ?
) GROUP BY merchant, pattern ORDER BY merchant, pattern;

-- name: quarantined_in_chunks
SELECT reason, CAST(sum(rows) AS bigint), count(*), min(chunk), max(chunk)
FROM quarantine WHERE chunk BETWEEN ? AND ? GROUP BY reason ORDER BY reason;

-- name: last_of
SELECT max(seq) FROM detections WHERE pattern = ? AND key = ?;

-- name: last_shadow_of
SELECT max(seq) FROM shadow_detections WHERE pattern = ? AND key = ?;

-- name: bands
-- The first column says which rows of quarantine_bands go with it.
SELECT
  number / ?, min(number), max(number), CAST(sum(rows) AS bigint), CAST(sum(counted) AS bigint),
  CAST(sum(filtered) AS bigint), min(processed_at), max(processed_at)
FROM chunks WHERE processed_at IS NOT NULL GROUP BY 1 ORDER BY 1;

-- name: quarantine_bands
SELECT chunk / ?, reason, CAST(sum(rows) AS bigint) FROM quarantine GROUP BY 1, 2 ORDER BY 1, 2;

-- name: wrong_chunks
SELECT number, CAST(sum(quarantine.rows) AS bigint), processed_at
FROM quarantine JOIN chunks ON number = chunk
WHERE reason = coalesce(?, reason) AND processed_at IS NOT NULL
GROUP BY number, processed_at ORDER BY number DESC LIMIT ?;
