ALTER TABLE messages.messages
    ADD CONSTRAINT messages_device_id_fkey FOREIGN KEY (device_id) REFERENCES messages.devices (id);
