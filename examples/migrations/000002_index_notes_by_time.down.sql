-- Undo: index notes by time.

DROP INDEX CONCURRENTLY notes_created_at;
