SELECT attnotnull AND NOT EXISTS (
    SELECT FROM pg_constraint
    WHERE conrelid = attrelid AND conname = 'messages_client_not_null' AND contype = 'c'
)
FROM pg_attribute
WHERE attrelid = 'messages.messages'::regclass AND attname = 'client';
