ALTER TABLE messages.messages VALIDATE CONSTRAINT messages_client_not_null;
