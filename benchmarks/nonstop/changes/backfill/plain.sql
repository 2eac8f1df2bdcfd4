UPDATE messages.messages
SET content_length = char_length(content)
WHERE content_length IS NULL AND content IS NOT NULL;
