-- Fills messages.messages with nonstop.rows rows, oldest first, a hundred to a conversation. Foreign keys hold by
-- construction and are not checked row by row.
SET session_replication_role = replica;

INSERT INTO auth.users (id, email)
SELECT md5('user ' || number)::uuid, 'user' || number || '@example.org'
FROM generate_series(0, 999) AS number;

INSERT INTO messages.conversations (id, kind, title, created_by)
SELECT md5('conversation ' || number)::uuid, 'group', 'Conversation ' || number, md5('user ' || number % 1000)::uuid
FROM generate_series(0, greatest(current_setting('nonstop.rows')::integer / 100, 1) - 1) AS number;

INSERT INTO messages.messages
    (id, conversation_id, sender_id, kind, content, created_at, updated_at, sequence_number, client, device_id)
SELECT
    uuidv7(moment.at - now()),
    md5('conversation ' || number % conversations.count)::uuid,
    md5('user ' || number % 1000)::uuid,
    'text',
    'a message that says '
        || words.list[1 + number % 97] || ' ' || words.list[1 + number % 89] || ' and ' || words.list[1 + number % 83]
        || ' before ' || words.list[1 + number % 79] || ' ' || words.list[1 + number % 73],
    moment.at,
    moment.at,
    1 + number / conversations.count,
    (ARRAY['android', 'ios', 'web'])[1 + number % 3],
    1 + number % 1000
FROM generate_series(0, current_setting('nonstop.rows')::integer - 1) AS number
CROSS JOIN (SELECT greatest(current_setting('nonstop.rows')::integer / 100, 1) AS count) AS conversations
CROSS JOIN (
    SELECT array_agg('w' || left(md5(place::text), 2 + place % 7)) AS list
    FROM generate_series(1, 97) AS place
) AS words
CROSS JOIN LATERAL (
    SELECT now() - (current_setting('nonstop.rows')::integer - number) * interval '5 s' AS at
) AS moment;

RESET session_replication_role;
