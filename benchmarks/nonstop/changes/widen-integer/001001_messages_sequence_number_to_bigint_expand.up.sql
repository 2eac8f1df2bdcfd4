-- Add sequence_number_new of type bigint beside sequence_number, and keep it in step. (step 1 of 5: sequence_number to
-- bigint)

-- The new column. It has no default yet, so no row is rewritten.
ALTER TABLE messages.messages ADD COLUMN sequence_number_new bigint;

-- Whoever writes sequence_number writes sequence_number_new too. The trigger's name puts it behind all others that
-- fire before a row is written.
CREATE FUNCTION messages.messages_sequence_number_sequence_number_new_in_step() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    NEW.sequence_number_new := NEW.sequence_number;
    RETURN NEW;
END
$$;

CREATE TRIGGER zz_sequence_number_sequence_number_new_in_step BEFORE INSERT OR UPDATE ON messages.messages
    FOR EACH ROW EXECUTE FUNCTION messages.messages_sequence_number_sequence_number_new_in_step();

-- NOT VALID: no row is looked at now, but from here on the server refuses every write that the trigger did not see.
ALTER TABLE messages.messages ADD CONSTRAINT messages_sequence_number_sequence_number_new_in_step CHECK (sequence_number_new IS NOT DISTINCT FROM sequence_number::bigint) NOT VALID;
