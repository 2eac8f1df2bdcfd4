SELECT NOT EXISTS (
    SELECT FROM messages.messages
    WHERE content_length IS NULL AND content IS NOT NULL
);
