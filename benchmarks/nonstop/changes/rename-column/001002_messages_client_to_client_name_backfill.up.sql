-- Fill client_name from client. (step 2 of 4: client to client_name)

-- Fill the rows that nobody has written to since. Each batch is a transaction of its own.
-- For each row these triggers fire as well; see whether that is wanted: set_updated_at (auth.set_updated_at).
-- whimbrel: backfill = messages.messages by id batch = auto
UPDATE messages.messages
SET client_name = client
WHERE client_name IS DISTINCT FROM client;
