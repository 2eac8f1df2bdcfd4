-- Drop client: client_name has taken its place. (step 4 of 4: client to client_name)

-- Looks into the catalog only.
DO $$
DECLARE
    others text;
BEGIN
    IF NOT (
        (SELECT count(*) FROM pg_catalog.pg_constraint
            WHERE conrelid = 'messages.messages'::pg_catalog.regclass AND convalidated
                AND conname IN ('messages_client_client_name_in_step')) = 1
    ) THEN
        RAISE EXCEPTION 'column client cannot be dropped yet: it is not proven that every row has its value in client_name'
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
        AND a.attname = 'client'
        AND coalesce(c.relname, k.conname) NOT IN ('messages_client_client_name_in_step');
    IF others IS NOT NULL THEN
        RAISE EXCEPTION 'column client is used by what was made after this file was written: %', others
            USING HINT = 'Drop it, or make it anew for the other column, and run this again.';
    END IF;
END
$$;

-- From here on nobody may use the old column. What follows changes the catalog only, and is over at once.
DROP TRIGGER zz_client_client_name_in_step ON messages.messages;
DROP FUNCTION messages.messages_client_client_name_in_step();
ALTER TABLE messages.messages DROP CONSTRAINT messages_client_client_name_in_step;

ALTER TABLE messages.messages DROP COLUMN client;
