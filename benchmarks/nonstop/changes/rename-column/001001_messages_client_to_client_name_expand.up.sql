-- Add client_name beside client, and keep both in step. (step 1 of 4: client to client_name)

-- The new column. It has no default yet, so no row is rewritten.
ALTER TABLE messages.messages ADD COLUMN client_name character varying(16);

-- Whoever writes client writes client_name too, and the other way round, so that the old and the new version of the
-- application can run at the same time. The trigger's name puts it behind all others that fire before a row is
-- written.
CREATE FUNCTION messages.messages_client_client_name_in_step() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        -- Who gives the new column means it; who does not, the old one.
        IF NEW.client_name IS NOT NULL THEN
            NEW.client := NEW.client_name;
        ELSE
            NEW.client_name := NEW.client;
        END IF;
    ELSIF NEW.client_name IS DISTINCT FROM OLD.client_name THEN
        NEW.client := NEW.client_name;
    ELSE
        -- The old column changed, or neither did: then this fills a row that was not filled yet.
        NEW.client_name := NEW.client;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER zz_client_client_name_in_step BEFORE INSERT OR UPDATE ON messages.messages
    FOR EACH ROW EXECUTE FUNCTION messages.messages_client_client_name_in_step();

-- NOT VALID: no row is looked at now, but from here on the server refuses every write that the trigger did not see.
ALTER TABLE messages.messages ADD CONSTRAINT messages_client_client_name_in_step CHECK (client_name IS NOT DISTINCT FROM client) NOT VALID;
