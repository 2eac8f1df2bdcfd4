ALTER TABLE messages.messages VALIDATE CONSTRAINT messages_created_at_bounds;
