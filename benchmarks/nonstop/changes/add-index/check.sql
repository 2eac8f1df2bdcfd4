SELECT indisvalid
FROM pg_index
WHERE indexrelid = 'messages.messages_device_id_idx'::regclass;
