SELECT format_type(atttypid, atttypmod) = 'character varying(64)'
FROM pg_attribute
WHERE attrelid = 'messages.messages'::regclass AND attname = 'client';
