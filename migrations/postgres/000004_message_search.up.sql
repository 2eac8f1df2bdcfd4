-- Full-text search over messages, added while messages are read and written.
--
-- Why an index on an expression: a generated column would rewrite the largest table under an exclusive lock, and a
-- plain column with a trigger would need every old row updated once. An index on to_tsvector(content) is built
-- concurrently and touches no row. Its price is that ranking computes to_tsvector again, for the hits only.
--
-- Why the configuration "simple": people write in many languages, often in one message. It folds case and drops no
-- word, so that every word typed can be found again, exactly as typed.

CREATE INDEX CONCURRENTLY IF NOT EXISTS messages_search_idx
    ON messages.messages USING gin (to_tsvector('pg_catalog.simple', content))
    WHERE deleted_at IS NULL AND content IS NOT NULL;

COMMENT ON INDEX messages.messages_search_idx IS 'For messages.search().';

-- No SET search_path here: it would keep PostgreSQL from planning the function's query as part of the caller's.
CREATE OR REPLACE FUNCTION messages.search(p_user_id uuid, p_query text, p_limit integer DEFAULT 20)
RETURNS TABLE (message_id uuid, conversation_id uuid, sender_id uuid, content text, created_at timestamptz, rank real)
LANGUAGE sql
STABLE
ROWS 20
AS $$
    SELECT
        m.id,
        m.conversation_id,
        m.sender_id,
        m.content,
        m.created_at,
        pg_catalog.ts_rank_cd(pg_catalog.to_tsvector('pg_catalog.simple', m.content), q.query) AS rank
    FROM pg_catalog.websearch_to_tsquery('pg_catalog.simple', p_query) AS q (query)
    JOIN messages.messages AS m
        ON pg_catalog.to_tsvector('pg_catalog.simple', m.content) @@ q.query
    JOIN messages.participants AS p
        ON p.conversation_id = m.conversation_id
    JOIN messages.conversations AS c
        ON c.id = m.conversation_id
    WHERE p.user_id = p_user_id
        AND p.left_at IS NULL
        AND m.created_at >= p.joined_at
        AND c.deleted_at IS NULL
        AND m.content IS NOT NULL
        AND m.deleted_at IS NULL
        AND (m.expires_at IS NULL OR m.expires_at > pg_catalog.now())
    ORDER BY rank DESC, m.created_at DESC, m.id
    LIMIT p_limit
$$;

COMMENT ON FUNCTION messages.search(uuid, text, integer) IS
    'Messages with the words of p_query, best first, of conversations that p_user_id is in now, sent since joining: who left and came back finds what was sent since coming back. p_query is what people type into search engines: words, "a phrase", or, -not.';

INSERT INTO schema_migrations (version, description)
VALUES (4, 'Add full-text search over messages')
ON CONFLICT (version) DO NOTHING;
