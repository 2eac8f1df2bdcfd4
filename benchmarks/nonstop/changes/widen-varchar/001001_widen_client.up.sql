ALTER TABLE messages.messages ALTER COLUMN client TYPE varchar(64);
