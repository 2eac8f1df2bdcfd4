ALTER TABLE messages.all_messages
    ATTACH PARTITION messages.messages FOR VALUES FROM ('2020-01-01') TO ('2100-01-01');
