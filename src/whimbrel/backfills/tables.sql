-- The statements that were run in batches, and how far. whimbrel runs this file before its first backfill; it can be run
-- twice. The name is replaced where the configuration gives another one to the history table.

CREATE TABLE IF NOT EXISTS public.schema_migrations_backfill (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version      bigint,
    direction    text CHECK (direction IN ('up', 'down')),
    statement    integer,
    file         text,
    checksum     text NOT NULL,
    relation     text NOT NULL,
    key          text[] NOT NULL,
    cursor       text[],
    walk         integer NOT NULL DEFAULT 1,
    walked       bigint NOT NULL DEFAULT 0,
    walk_changed bigint NOT NULL DEFAULT 0,
    changed      bigint NOT NULL DEFAULT 0,
    batches      bigint NOT NULL DEFAULT 0,
    batch        integer,
    total        bigint,
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at  timestamptz,
    role         text NOT NULL DEFAULT session_user,
    host         text,
    tool_version text NOT NULL
);

COMMENT ON TABLE public.schema_migrations_backfill IS
    'The statements that whimbrel runs in batches. A row is written in the transaction of each batch.';
COMMENT ON COLUMN public.schema_migrations_backfill.version IS
    'The migration whose statement it is; null for one that was run by itself.';
COMMENT ON COLUMN public.schema_migrations_backfill.statement IS 'The statement''s number in the file, from 1.';
COMMENT ON COLUMN public.schema_migrations_backfill.file IS
    'The name of the file that a statement run by itself is in; null if there is none.';
COMMENT ON COLUMN public.schema_migrations_backfill.checksum IS 'sha256: and the digest of the statement''s text.';
COMMENT ON COLUMN public.schema_migrations_backfill.key IS 'The columns that the table is walked by.';
COMMENT ON COLUMN public.schema_migrations_backfill.cursor IS
    'The key, as text, up to which rows are done in this walk; null at its beginning.';
COMMENT ON COLUMN public.schema_migrations_backfill.walk IS
    'How often the table is walked: again where rows came in behind the cursor.';
COMMENT ON COLUMN public.schema_migrations_backfill.walked IS 'The rows that lie behind the cursor in this walk.';
COMMENT ON COLUMN public.schema_migrations_backfill.walk_changed IS 'The rows that this walk has changed.';
COMMENT ON COLUMN public.schema_migrations_backfill.changed IS 'The rows that were changed, in all walks.';
COMMENT ON COLUMN public.schema_migrations_backfill.batches IS 'The batches that were committed, in all walks.';
COMMENT ON COLUMN public.schema_migrations_backfill.batch IS 'The size of the next batch, in rows.';
COMMENT ON COLUMN public.schema_migrations_backfill.total IS 'About how many rows the table had at the beginning.';
COMMENT ON COLUMN public.schema_migrations_backfill.updated_at IS 'When the last batch was committed.';
COMMENT ON COLUMN public.schema_migrations_backfill.finished_at IS
    'When it was found that no row is left; null while it runs, or if it was interrupted.';
COMMENT ON COLUMN public.schema_migrations_backfill.host IS 'The name of the machine that whimbrel ran on.';
