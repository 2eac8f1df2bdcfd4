-- Let sequence_number_new take the name sequence_number; the old column stays as sequence_number_old. (step 4 of 5:
-- sequence_number to bigint)

-- Looks into the catalog only.
DO $$
DECLARE
    others text;
BEGIN
    IF NOT (
        (SELECT count(*) FROM pg_catalog.pg_constraint
            WHERE conrelid = 'messages.messages'::pg_catalog.regclass AND convalidated
                AND conname IN ('messages_sequence_number_sequence_number_new_in_step')) = 1
    ) THEN
        RAISE EXCEPTION 'column sequence_number cannot change its type yet: it is not proven that every row is filled'
            USING HINT = 'Let the backfill and the migration that validates end first.';
    END IF;
    SELECT pg_catalog.string_agg(DISTINCT coalesce(c.relname, k.conname), ', ') INTO others
    FROM pg_catalog.pg_depend AS d
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    LEFT JOIN pg_catalog.pg_class AS c ON c.oid = d.objid AND c.relkind IN ('i', 'I')
        AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
    LEFT JOIN pg_catalog.pg_constraint AS k ON k.oid = d.objid AND k.contype <> 'n'
        AND d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass
    WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
        AND d.refobjid = 'messages.messages'::pg_catalog.regclass
        AND a.attname = 'sequence_number'
        AND coalesce(c.relname, k.conname) NOT IN ('messages_sequence_number_sequence_number_new_in_step');
    IF others IS NOT NULL THEN
        RAISE EXCEPTION 'column sequence_number is used by what was made after this file was written: %', others
            USING HINT = 'Drop it, or make it anew for the other column, and run this again.';
    END IF;
END
$$;

-- Everything from here on changes the catalog only, and is over at once.
DROP TRIGGER zz_sequence_number_sequence_number_new_in_step ON messages.messages;
DROP FUNCTION messages.messages_sequence_number_sequence_number_new_in_step();

-- Values that only bigint can hold are accepted from here on.
ALTER TABLE messages.messages DROP CONSTRAINT messages_sequence_number_sequence_number_new_in_step;

-- The swap.
ALTER TABLE messages.messages RENAME COLUMN sequence_number TO sequence_number_old;
ALTER TABLE messages.messages RENAME COLUMN sequence_number_new TO sequence_number;

-- The trigger turned round: sequence_number_old follows as long as a value fits, for the way back, and is NULL where
-- none does.
CREATE FUNCTION messages.messages_sequence_number_sequence_number_old_in_step() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF TG_OP = 'INSERT' OR NEW.sequence_number IS DISTINCT FROM OLD.sequence_number THEN
        NEW.sequence_number_old := CASE WHEN NEW.sequence_number BETWEEN -2147483648 AND 2147483647 THEN NEW.sequence_number END;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER zz_sequence_number_sequence_number_new_in_step BEFORE INSERT OR UPDATE ON messages.messages
    FOR EACH ROW EXECUTE FUNCTION messages.messages_sequence_number_sequence_number_old_in_step();
