ALTER TABLE messages.messages ALTER COLUMN sequence_number TYPE bigint;
