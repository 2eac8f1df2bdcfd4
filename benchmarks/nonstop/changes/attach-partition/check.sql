SELECT count(*) = 1
FROM pg_inherits
WHERE inhrelid = 'messages.messages'::regclass AND inhparent = 'messages.all_messages'::regclass;
