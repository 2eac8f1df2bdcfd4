"""What is asked of the catalog. Each takes the table's oid and the column's name and number."""

from __future__ import annotations

TABLE = """
    SELECT n.nspname AS schema, c.relname AS name, c.relkind::text AS kind, c.relispartition AS is_partition,
        c.reloftype <> 0 AS is_typed,
        EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = c.oid) AS is_child,
        EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = c.oid) AS is_parent
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.oid = %(table)s
"""

COLUMN = """
    SELECT a.attname AS name, a.attnum AS number,
        pg_catalog.format_type(a.atttypid, a.atttypmod) AS type, t.typname AS type_name, t.typtype::text AS type_kind,
        tn.nspname AS type_schema, t.typstorage::text AS type_storage,
        CASE WHEN a.attcollation <> t.typcollation
            THEN pg_catalog.quote_ident(cn.nspname) || '.' || pg_catalog.quote_ident(co.collname) END AS collation,
        coalesce(co.collisdeterministic, true) AS is_deterministic,
        pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS default,
        a.attnotnull AS is_not_null, a.attidentity::text AS identity, a.attgenerated::text AS generated,
        a.attstorage::text AS storage, {compression}::text AS compression,
        a.attstattarget AS statistics, a.attoptions AS options, a.attinhcount AS ancestors,
        pg_catalog.col_description(a.attrelid, a.attnum) AS comment
    FROM pg_catalog.pg_attribute AS a
    JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
    JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.typnamespace
    LEFT JOIN pg_catalog.pg_collation AS co ON co.oid = a.attcollation
    LEFT JOIN pg_catalog.pg_namespace AS cn ON cn.oid = co.collnamespace
    LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = %(table)s AND a.attname = %(column)s AND NOT a.attisdropped
"""

NAMES = """
    SELECT
        ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) AS columns,
        ARRAY(SELECT r.relname::text FROM pg_catalog.pg_class AS r WHERE r.relnamespace = c.relnamespace) AS relations,
        ARRAY(SELECT k.conname::text FROM pg_catalog.pg_constraint AS k
            WHERE k.conrelid = c.oid
            OR k.conrelid IN (SELECT f.conrelid FROM pg_catalog.pg_constraint AS f WHERE f.confrelid = c.oid)
            OR k.conrelid IN (SELECT relid FROM pg_catalog.pg_partition_tree(c.oid))) AS constraints,
        ARRAY(SELECT p.proname::text FROM pg_catalog.pg_proc AS p WHERE p.pronamespace = c.relnamespace) AS functions,
        ARRAY(SELECT t.tgname::text FROM pg_catalog.pg_trigger AS t WHERE t.tgrelid = c.oid
            OR t.tgrelid IN (SELECT relid FROM pg_catalog.pg_partition_tree(c.oid))) AS triggers
    FROM pg_catalog.pg_class AS c
    WHERE c.oid = %(table)s
"""

GRANTS = """
    SELECT x.privilege_type AS privilege, x.is_grantable,
        CASE WHEN x.grantee = 0 THEN 'PUBLIC'
            ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(x.grantee)) END AS grantee
    FROM pg_catalog.pg_attribute AS a
    CROSS JOIN LATERAL pg_catalog.aclexplode(a.attacl) AS x
    WHERE a.attrelid = %(table)s AND a.attnum = %(number)s
"""

SEQUENCE = """
    SELECT n.nspname AS schema, c.relname AS name, pg_catalog.format_type(s.seqtypid, NULL) AS type, s.*
    FROM pg_catalog.pg_depend AS d
    JOIN pg_catalog.pg_sequence AS s ON s.seqrelid = d.objid
    JOIN pg_catalog.pg_class AS c ON c.oid = d.objid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = %(table)s
        AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
        AND d.refobjsubid = %(number)s AND d.deptype IN ('a', 'i')
    ORDER BY d.objid
"""

# By this a backfill walks the table.
KEY = """
    SELECT ARRAY(SELECT a.attname::text
        FROM pg_catalog.unnest(i.indkey) WITH ORDINALITY AS k (number, place)
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number
        WHERE k.place <= i.indnkeyatts ORDER BY k.place) AS columns
    FROM pg_catalog.pg_index AS i
    JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
    JOIN pg_catalog.pg_am AS m ON m.oid = x.relam AND m.amname = 'btree'
    WHERE i.indrelid = %(table)s AND i.indisunique AND i.indimmediate AND i.indisvalid
        AND i.indpred IS NULL AND i.indexprs IS NULL
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = i.indrelid AND NOT a.attnotnull
            AND a.attnum = ANY ((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1]))
    ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid
    LIMIT 1
"""

INDEXES = """
    SELECT c.oid, c.relname AS name, k.contype::text AS kind, i.indisunique AS is_unique,
        s.spcname AS tablespace, i.indisclustered AS is_clustered,
        coalesce(pg_catalog.obj_description(k.oid, 'pg_constraint'),
            pg_catalog.obj_description(c.oid, 'pg_class')) AS comment,
        (SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(a.attnum, a.attstattarget) ORDER BY a.attnum)
            FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attstattarget >= 0) AS statistics,
        (SELECT pg_catalog.jsonb_agg(
                pg_catalog.jsonb_build_array(pn.nspname, pt.relname, pi.relname) ORDER BY pt.relname)
            FROM pg_catalog.pg_inherits AS h
            JOIN pg_catalog.pg_class AS pi ON pi.oid = h.inhrelid
            JOIN pg_catalog.pg_index AS px ON px.indexrelid = h.inhrelid
            JOIN pg_catalog.pg_class AS pt ON pt.oid = px.indrelid
            JOIN pg_catalog.pg_namespace AS pn ON pn.oid = pt.relnamespace
            WHERE h.inhparent = c.oid) AS partitions
    FROM pg_catalog.pg_index AS i
    JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
    LEFT JOIN pg_catalog.pg_tablespace AS s ON s.oid = c.reltablespace
    LEFT JOIN pg_catalog.pg_constraint AS k
        ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x')
    WHERE i.indrelid = %(table)s
        AND (%(number)s::int2 = ANY (i.indkey)
            OR EXISTS (SELECT FROM pg_catalog.pg_depend AS d
                WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = i.indexrelid
                AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                AND d.refobjid = i.indrelid AND d.refobjsubid = %(number)s))
    ORDER BY i.indexrelid
"""

CHECKS = """
    SELECT conname AS name, convalidated AS is_valid, pg_catalog.obj_description(oid, 'pg_constraint') AS comment
    FROM pg_catalog.pg_constraint
    WHERE conrelid = %(table)s AND contype = 'c' AND %(number)s::int2 = ANY (conkey)
    ORDER BY conname
"""

FOREIGN_KEYS = """
    SELECT k.conname AS name, cn.nspname AS schema, c.relname AS table, tn.nspname AS target_schema,
        t.relname AS target, k.convalidated AS is_valid, pg_catalog.pg_get_constraintdef(k.oid) AS definition,
        k.conrelid = %(table)s AND %(number)s::int2 = ANY (k.conkey) AS is_outgoing,
        k.confrelid = %(table)s AND %(number)s::int2 = ANY (k.confkey) AS is_incoming,
        pg_catalog.obj_description(k.oid, 'pg_constraint') AS comment,
        ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY AS u (number, place)
            JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = u.number
            ORDER BY u.place) AS columns,
        ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY AS u (number, place)
            JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = u.number
            ORDER BY u.place) AS target_columns
    FROM pg_catalog.pg_constraint AS k
    JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
    JOIN pg_catalog.pg_namespace AS cn ON cn.oid = c.relnamespace
    JOIN pg_catalog.pg_class AS t ON t.oid = k.confrelid
    JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace
    WHERE k.contype = 'f' AND k.conparentid = 0
        AND ((k.conrelid = %(table)s AND %(number)s::int2 = ANY (k.conkey))
            OR (k.confrelid = %(table)s AND %(number)s::int2 = ANY (k.confkey)))
    ORDER BY k.conname, k.oid
"""

# tgtype: 1 for rows, 2 before, 4 insert, 16 update.
TRIGGERS = """
    SELECT t.tgname AS name, t.tgfoid::pg_catalog.regproc::text AS function,
        t.tgtype & 2 <> 0 AS is_before, t.tgtype & 16 <> 0 AS is_update,
        p.prosrc || ' ' || pg_catalog.encode(t.tgargs, 'escape') AS text
    FROM pg_catalog.pg_trigger AS t
    JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
    WHERE t.tgrelid = %(table)s AND NOT t.tgisinternal AND t.tgtype & 1 <> 0 AND t.tgtype & 20 <> 0
        AND t.tgenabled <> 'D'
    ORDER BY t.tgname
"""

FUNCTIONS = """
    SELECT p.oid::pg_catalog.regprocedure::text AS name, p.prosrc AS text
    FROM pg_catalog.pg_proc AS p
    JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang AND l.lanname NOT IN ('internal', 'c')
    JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND {body}
        AND pg_catalog.strpos(pg_catalog.lower(p.prosrc), pg_catalog.lower(%(column)s)) > 0
    ORDER BY 1
"""
