CREATE INDEX CONCURRENTLY messages_device_id_idx ON messages.messages (device_id, created_at);
