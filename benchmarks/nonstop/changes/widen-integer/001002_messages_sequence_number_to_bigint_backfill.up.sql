-- Fill sequence_number_new from sequence_number. (step 2 of 5: sequence_number to bigint)

-- Fill the rows that nobody has written to since. Each batch is a transaction of its own.
-- For each row these triggers fire as well; see whether that is wanted: set_updated_at (auth.set_updated_at).
-- whimbrel: backfill = messages.messages by id batch = auto
UPDATE messages.messages
SET sequence_number_new = sequence_number
WHERE sequence_number_new IS DISTINCT FROM sequence_number::bigint;
