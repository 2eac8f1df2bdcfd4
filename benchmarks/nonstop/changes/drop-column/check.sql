SELECT count(*) = 0
FROM pg_attribute
WHERE attrelid = 'messages.messages'::regclass AND attname = 'device_id';
