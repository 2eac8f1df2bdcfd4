ALTER TABLE messages.all_messages
    ATTACH PARTITION messages.messages FOR VALUES FROM ('2020-01-01') TO ('2100-01-01');
ALTER TABLE messages.messages DROP CONSTRAINT messages_created_at_bounds;
