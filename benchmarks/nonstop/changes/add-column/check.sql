SELECT count(*) = 1
FROM pg_attribute
WHERE attrelid = 'messages.messages'::regclass AND attname = 'priority' AND attnotnull AND atthasdef;
