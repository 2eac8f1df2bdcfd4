-- Prove that every row is filled. (step 3 of 5: sequence_number to bigint)

-- Each proof reads the table once, while everybody reads and writes. It fails if a row is not filled.
ALTER TABLE messages.messages VALIDATE CONSTRAINT messages_sequence_number_sequence_number_new_in_step;

-- The planner knows nothing of the new column yet.
ANALYZE messages.messages;
