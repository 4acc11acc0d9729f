-- Who works on this state: the last run of each mechanism, noted by itself every few seconds. Nothing is decided by it.
CREATE TABLE activity (
  mechanism       text COLLATE "C" PRIMARY KEY, -- ingest, detect
  run             text COLLATE "C" NOT NULL,   -- its id, also in logs
  host            text COLLATE "C" NOT NULL,
  pid             bigint NOT NULL,
  began_at        text COLLATE "C" NOT NULL,
  beat_at         text COLLATE "C" NOT NULL,   -- when it last said that it is alive
  ended_at        text COLLATE "C",            -- NULL while at work, and of a run that was killed
  how             text COLLATE "C",            -- ended, stopped, failed
  retries         text COLLATE "C" NOT NULL,   -- JSON: how often each place was tried again
  errors          bigint NOT NULL,             -- all that went wrong
  last_trouble    text COLLATE "C",
  last_trouble_at text COLLATE "C"
);
