SELECT convalidated
FROM pg_constraint
WHERE conname = 'messages_sequence_number_check';
