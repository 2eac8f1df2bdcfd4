SELECT convalidated
FROM pg_constraint
WHERE conname = 'messages_device_id_fkey';
