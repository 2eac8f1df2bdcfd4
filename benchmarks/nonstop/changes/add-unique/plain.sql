ALTER TABLE messages.messages
    ADD CONSTRAINT messages_sequence_number_key UNIQUE (conversation_id, sequence_number);
