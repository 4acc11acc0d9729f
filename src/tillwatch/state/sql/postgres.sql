-- Statements of the PostgreSQL store alone, by name.

-- name: prepare
-- What every session begins with: the pipeline's schema, commits that are durable when they return, and a server that
-- looks after a minute whether a silent client is still there, so that the lease of a machine that is gone comes free.
SELECT
  pid, backend_start,
  set_config('search_path', %(path)s, false),
  set_config('client_min_messages', 'warning', false),
  set_config('tcp_keepalives_idle', '30', false),
  set_config('tcp_keepalives_interval', '10', false),
  set_config('tcp_keepalives_count', '3', false),
  CASE WHEN %(readonly)s = 'on' THEN set_config('default_transaction_read_only', 'on', false) END,
  CASE WHEN current_setting('lock_timeout') = '0' THEN set_config('lock_timeout', '30s', false) END,
  CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', false) END
FROM pg_stat_activity WHERE pid = pg_backend_pid();

-- name: holder
-- The session that holds an advisory lock of 64 bits, in two halves, in this database.
SELECT pid, backend_start, application_name
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND objsubid = 1
AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND classid = %s::bigint::oid AND objid = %s::bigint::oid;

-- name: objects
SELECT relname FROM pg_class JOIN pg_namespace ON relnamespace = pg_namespace.oid
WHERE nspname = %s AND relkind IN ('r', 'v', 'p', 'm', 'f');

-- name: size
SELECT CAST(coalesce(sum(pg_total_relation_size(pg_class.oid)), 0) AS bigint)
FROM pg_class JOIN pg_namespace ON relnamespace = pg_namespace.oid WHERE nspname = %s AND relkind IN ('r', 'm');

-- name: there_is_a_schema
-- Asked of the table: to_regnamespace may give what was so before the transaction waited for another one.
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %s);

-- name: one_migrates
-- One session at a time makes the schema or adds to it; the lock ends with the transaction.
SELECT pg_advisory_xact_lock(hashtextextended('tillwatch ' || %s || ' schema', 0));

-- name: held_cursor
SELECT value FROM meta WHERE key = 'cursor' FOR UPDATE;

-- name: briefly
SELECT set_config('lock_timeout', '500ms', true), set_config('synchronous_commit', 'off', true);

-- name: copy_rows
COPY {into} ({columns}) FROM STDIN CSV

-- name: upsert
INSERT INTO {table} ({columns}) SELECT {columns} FROM {rows}
ON CONFLICT (id) DO UPDATE SET {changed};

-- name: make_staging
-- Every row says which transaction has staged it. The name of that column can be no column of a table.
CREATE UNLOGGED TABLE {staging} (
  LIKE {table},
  "staged-by" bigint NOT NULL DEFAULT CAST(CAST(pg_current_xact_id() AS text) AS bigint)
);

-- name: staged_rows
{staging} WHERE "staged-by" = ANY (%s::bigint[])

-- name: this_transaction
SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint);

-- name: staging_tables
SELECT relname FROM pg_class JOIN pg_namespace ON relnamespace = pg_namespace.oid
WHERE nspname = %s AND relkind = 'r' AND relname ~ '^staging_[0-9a-f]{32}_[0-9]+$' ORDER BY relname;

-- name: drop_staging
DROP TABLE {staging};
