SELECT array_agg(attname::text ORDER BY attname) = ARRAY['client_name']
    AND NOT EXISTS (SELECT FROM messages.messages WHERE client_name IS NULL)
FROM pg_attribute
WHERE attrelid = 'messages.messages'::regclass AND attname IN ('client', 'client_name');
