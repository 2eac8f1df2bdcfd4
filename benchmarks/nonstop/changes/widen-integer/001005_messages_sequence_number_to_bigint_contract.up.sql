-- Drop sequence_number_old: nobody goes back to it. (step 5 of 5: sequence_number to bigint)

-- Looks into the catalog only.
DO $$
DECLARE
    others text;
BEGIN
    IF NOT (
        EXISTS (SELECT FROM pg_catalog.pg_trigger AS t
            JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
            WHERE t.tgrelid = 'messages.messages'::pg_catalog.regclass
                AND t.tgname = 'zz_sequence_number_sequence_number_new_in_step' AND p.proname = 'messages_sequence_number_sequence_number_old_in_step')
    ) THEN
        RAISE EXCEPTION 'column sequence_number_old cannot be dropped yet: the columns are not swapped'
            USING HINT = 'Let the migrations before this one end first.';
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
        AND a.attname = 'sequence_number_old';
    IF others IS NOT NULL THEN
        RAISE EXCEPTION 'column sequence_number_old is used by what was made after this file was written: %', others
            USING HINT = 'Drop it, or make it anew for the other column, and run this again.';
    END IF;
END
$$;

-- From here on there is no way back to the old column.
DROP TRIGGER zz_sequence_number_sequence_number_new_in_step ON messages.messages;
DROP FUNCTION messages.messages_sequence_number_sequence_number_old_in_step();
ALTER TABLE messages.messages DROP COLUMN sequence_number_old;
