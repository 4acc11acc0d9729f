-- Who works on this state: the last run of each mechanism, noted by itself every few seconds. Nothing is decided by it.
CREATE TABLE activity (
  mechanism       TEXT PRIMARY KEY,  -- ingest, detect
  run             TEXT NOT NULL,     -- its id, also in logs
  host            TEXT NOT NULL,
  pid             INTEGER NOT NULL,
  began_at        TEXT NOT NULL,
  beat_at         TEXT NOT NULL,     -- when it last said that it is alive
  ended_at        TEXT,              -- NULL while at work, and of a run that was killed
  how             TEXT,              -- ended, stopped, failed
  retries         TEXT NOT NULL,     -- JSON: how often each place was tried again
  errors          INTEGER NOT NULL,  -- all that went wrong
  last_trouble    TEXT,
  last_trouble_at TEXT
) STRICT;
