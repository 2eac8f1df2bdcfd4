ALTER TABLE messages.messages RENAME COLUMN client TO client_name;
