ALTER TABLE messages.messages
    ADD CONSTRAINT messages_sequence_number_check CHECK (sequence_number > 0) NOT VALID;
