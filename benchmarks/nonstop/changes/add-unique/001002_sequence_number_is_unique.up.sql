ALTER TABLE messages.messages
    ADD CONSTRAINT messages_sequence_number_key UNIQUE USING INDEX messages_sequence_number_key;
