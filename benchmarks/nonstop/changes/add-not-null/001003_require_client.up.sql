ALTER TABLE messages.messages ALTER COLUMN client SET NOT NULL;
ALTER TABLE messages.messages DROP CONSTRAINT messages_client_not_null;
