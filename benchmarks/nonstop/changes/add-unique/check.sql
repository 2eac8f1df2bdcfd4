SELECT indisvalid AND contype = 'u'
FROM pg_constraint
JOIN pg_index ON indexrelid = conindid
WHERE conname = 'messages_sequence_number_key';
