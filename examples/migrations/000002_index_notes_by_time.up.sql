-- The newest notes first. Outside a transaction, because CONCURRENTLY asks for that: notes can be written meanwhile.

CREATE INDEX CONCURRENTLY notes_created_at ON notes (created_at DESC);
