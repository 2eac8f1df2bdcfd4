ALTER TABLE messages.messages ADD COLUMN priority smallint NOT NULL DEFAULT 0;
