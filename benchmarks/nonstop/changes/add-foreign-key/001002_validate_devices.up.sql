ALTER TABLE messages.messages VALIDATE CONSTRAINT messages_device_id_fkey;
