CREATE UNIQUE INDEX CONCURRENTLY messages_sequence_number_key
    ON messages.messages (conversation_id, sequence_number);
