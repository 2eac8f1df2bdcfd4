ALTER TABLE messages.messages
    ADD CONSTRAINT messages_client_not_null CHECK (client IS NOT NULL) NOT VALID;
