-- What the changes need and Echo's messages lack: a number and a short text that the application uses, a reference, a
-- column to fill, a partitioned table. Before the rows come.
CREATE TABLE messages.devices (
    id bigint PRIMARY KEY,
    name text NOT NULL
);
INSERT INTO messages.devices (id, name)
SELECT number, 'device ' || number
FROM generate_series(1, 1000) AS number;

ALTER TABLE messages.messages
    ADD COLUMN sequence_number integer,
    ADD COLUMN client varchar(16),
    ADD COLUMN device_id bigint NOT NULL DEFAULT 1,
    ADD COLUMN content_length integer;

CREATE TABLE messages.all_messages (LIKE messages.messages)
PARTITION BY RANGE (created_at);
