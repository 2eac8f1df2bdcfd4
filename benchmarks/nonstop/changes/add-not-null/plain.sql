ALTER TABLE messages.messages ALTER COLUMN client SET NOT NULL;
