-- Undoes 000003. DROP INDEX CONCURRENTLY cannot run in a transaction; each statement can be run again.

DROP INDEX CONCURRENTLY IF EXISTS media.files_unfinished_idx;
DROP INDEX CONCURRENTLY IF EXISTS analytics.events_occurred_at_idx;
DROP INDEX CONCURRENTLY IF EXISTS analytics.events_name_occurred_at_idx;
DROP INDEX CONCURRENTLY IF EXISTS auth.one_time_codes_expires_at_idx;
DROP INDEX CONCURRENTLY IF EXISTS auth.sessions_live_idx;
DROP INDEX CONCURRENTLY IF EXISTS notifications.deliveries_queue_idx;
DROP INDEX CONCURRENTLY IF EXISTS notifications.notifications_unread_idx;
DROP INDEX CONCURRENTLY IF EXISTS users.contacts_pending_idx;
DROP INDEX CONCURRENTLY IF EXISTS messages.message_reports_open_idx;
DROP INDEX CONCURRENTLY IF EXISTS messages.calls_open_idx;
DROP INDEX CONCURRENTLY IF EXISTS messages.bookmarks_user_id_created_at_idx;
DROP INDEX CONCURRENTLY IF EXISTS messages.messages_expires_at_idx;
DROP INDEX CONCURRENTLY IF EXISTS messages.messages_conversation_id_created_at_idx;

DELETE FROM schema_migrations WHERE version = 3;
