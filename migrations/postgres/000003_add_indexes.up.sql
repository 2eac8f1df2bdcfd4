-- Indexes for the services' frequent queries. The baseline has those that keys and foreign keys need; these are about
-- speed alone, and tables that are in use get them without being blocked.
--
-- CREATE INDEX CONCURRENTLY cannot run in a transaction, so each statement stands for itself and can be run again. By
-- hand, run the file without psql's --single-transaction, and if it was interrupted drop the index that \d calls
-- INVALID before running it again.

-- A page of a conversation, newest first: WHERE conversation_id = $1 AND (created_at, id) < ($2, $3) LIMIT 50.
CREATE INDEX CONCURRENTLY IF NOT EXISTS messages_conversation_id_created_at_idx
    ON messages.messages (conversation_id, created_at DESC, id DESC);

-- Disappearing messages: WHERE expires_at <= now(). Few messages expire at all.
CREATE INDEX CONCURRENTLY IF NOT EXISTS messages_expires_at_idx
    ON messages.messages (expires_at)
    WHERE expires_at IS NOT NULL;

-- A user's bookmarks, newest first.
CREATE INDEX CONCURRENTLY IF NOT EXISTS bookmarks_user_id_created_at_idx
    ON messages.bookmarks (user_id, created_at DESC);

-- Calls that ring or go on, to end those whose server is gone.
CREATE INDEX CONCURRENTLY IF NOT EXISTS calls_open_idx
    ON messages.calls (created_at)
    WHERE ended_at IS NULL;

-- The moderators' queue, oldest first.
CREATE INDEX CONCURRENTLY IF NOT EXISTS message_reports_open_idx
    ON messages.message_reports (created_at)
    WHERE resolved_at IS NULL;

-- Requests that a user has to answer: WHERE contact_user_id = $1 AND status = 'pending'.
CREATE INDEX CONCURRENTLY IF NOT EXISTS contacts_pending_idx
    ON users.contacts (contact_user_id, created_at DESC)
    WHERE status = 'pending';

-- The number on the bell, and what is behind it: WHERE user_id = $1 AND read_at IS NULL.
CREATE INDEX CONCURRENTLY IF NOT EXISTS notifications_unread_idx
    ON notifications.notifications (user_id, created_at DESC)
    WHERE read_at IS NULL;

-- The sender's queue: WHERE status = 'queued' AND next_attempt_at <= now() ORDER BY next_attempt_at FOR UPDATE SKIP LOCKED.
CREATE INDEX CONCURRENTLY IF NOT EXISTS deliveries_queue_idx
    ON notifications.deliveries (next_attempt_at)
    WHERE status = 'queued';

-- Sessions that have run out, to be deleted: WHERE revoked_at IS NULL AND expires_at <= now().
CREATE INDEX CONCURRENTLY IF NOT EXISTS sessions_live_idx
    ON auth.sessions (expires_at)
    WHERE revoked_at IS NULL;

-- Codes that have run out, to be deleted.
CREATE INDEX CONCURRENTLY IF NOT EXISTS one_time_codes_expires_at_idx
    ON auth.one_time_codes (expires_at);

-- Events of one kind over a time, for the daily figures.
CREATE INDEX CONCURRENTLY IF NOT EXISTS events_name_occurred_at_idx
    ON analytics.events (name, occurred_at);

-- Events by time alone, to delete old ones. They arrive nearly in order, so a few pages of BRIN are enough.
CREATE INDEX CONCURRENTLY IF NOT EXISTS events_occurred_at_idx
    ON analytics.events USING brin (occurred_at);

-- Uploads that never ended, to be cleared away.
CREATE INDEX CONCURRENTLY IF NOT EXISTS files_unfinished_idx
    ON media.files (created_at)
    WHERE status IN ('uploading', 'processing');

INSERT INTO schema_migrations (version, description)
VALUES (3, 'Add indexes for frequent queries')
ON CONFLICT (version) DO NOTHING;
