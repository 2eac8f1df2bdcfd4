SELECT array_agg(attname || ' ' || format_type(atttypid, atttypmod)) = ARRAY['sequence_number bigint']
    AND NOT EXISTS (SELECT FROM messages.messages WHERE sequence_number IS NULL)
FROM pg_attribute
WHERE attrelid = 'messages.messages'::regclass AND attname LIKE 'sequence\_number%' AND NOT attisdropped;
