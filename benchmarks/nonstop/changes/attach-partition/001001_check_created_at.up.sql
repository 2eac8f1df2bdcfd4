ALTER TABLE messages.messages
    ADD CONSTRAINT messages_created_at_bounds
    CHECK (created_at >= '2020-01-01' AND created_at < '2100-01-01') NOT VALID;
