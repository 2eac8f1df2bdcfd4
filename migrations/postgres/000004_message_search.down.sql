-- Undoes 000004. DROP INDEX CONCURRENTLY cannot run in a transaction; each statement can be run again.

DROP FUNCTION IF EXISTS messages.search(uuid, text, integer);

DROP INDEX CONCURRENTLY IF EXISTS messages.messages_search_idx;

DELETE FROM schema_migrations WHERE version = 4;
