ALTER TABLE messages.messages DROP COLUMN device_id;
