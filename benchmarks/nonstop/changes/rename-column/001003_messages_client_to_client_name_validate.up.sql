-- Prove that every row is filled. (step 3 of 4: client to client_name)

-- Each proof reads the table once, while everybody reads and writes. It fails if a row is not filled.
ALTER TABLE messages.messages VALIDATE CONSTRAINT messages_client_client_name_in_step;

-- The planner knows nothing of the new column yet.
ANALYZE messages.messages;
