"""What cannot be carried over to another column, each named with what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

Row = dict[str, Any]
Query = Callable[[str], list[Row]]

_KINDS = {
    "r": "table",
    "p": "table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
    "c": "composite type",
    "S": "sequence",
    "i": "index",
    "I": "index",
}

# What uses a column, by the catalog that it is in. What is carried over does not stand here.
_ADVICE = {
    "pg_rewrite": "drop it in a migration before, and create it again behind the contract",
    "pg_policy": "drop it in a migration before, and create it again behind the contract",
    "pg_trigger": "let it fire for every column and look at the row in its function instead",
    "pg_publication_rel": "leave the column out of the publication's list and condition",
    "pg_statistic_ext": "drop it in a migration before, and create it again behind the contract",
    "pg_proc": "let its body be a string, or drop it and create it again behind the contract",
    "pg_attrdef": "a generated column cannot follow; drop it in a migration before",
}


def find_obstacles(query: Query, table: Row, column: Row, sequences: Sequence[Row], version: int) -> Iterator[str]:
    """Yield every obstacle that the catalog tells of."""
    yield from _of_table(table)
    if column["generated"]:
        yield "it is a generated column: change its expression instead"
    if column["ancestors"] and not table["is_partition"]:
        yield "it is inherited: change the parent's column"
    if len(sequences) > 1:
        owned = ", ".join(row["name"] for row in sequences)
        yield f"it owns several sequences ({owned}): leave it one, with ALTER SEQUENCE … OWNED BY NONE"
    for row in query(_DEPENDENTS):
        advice = _ADVICE.get(row["catalog"], "remove it in a migration before")
        yield f"{row['description']} uses it: {advice}"
    for row in query(_INDEXES):
        if row["is_exclusion"]:
            yield (
                f"constraint {row['name']} is an exclusion constraint, which cannot be built concurrently:"
                " drop it in a migration before"
            )
        elif row["is_deferrable"]:
            yield (
                f"constraint {row['name']} is deferrable, and an index that is built for it is not until it is its own:"
                " make the constraint anew without that before"
            )
        elif row["is_identity"]:
            yield f"index {row['name']} is the replica identity: choose another one before, and this one again behind"
        elif not row["is_valid"]:
            yield f"index {row['name']} is invalid: drop it, or rebuild it with REINDEX INDEX CONCURRENTLY"
    for row in query(_CONSTRAINTS.format(enforced="k.conenforced" if version >= 180000 else "true")):
        if not row["is_enforced"]:
            yield f"constraint {row['name']} is not enforced: drop it in a migration before"
        if row["is_partial"]:
            yield f"foreign key {row['name']} names the column behind ON DELETE SET: drop it in a migration before"
        if row["is_partitioned"]:
            yield f"foreign key {row['name']} belongs to a partitioned table: drop it in a migration before"
    if table["kind"] == "p":
        yield from _of_partitions(query)


def _of_table(table: Row) -> Iterator[str]:
    if table["kind"] not in ("r", "p"):
        yield f"{table['name']} is a {_KINDS.get(table['kind'], 'relation')} and not a table"
        return
    if table["is_partition"]:
        yield f"{table['name']} is a partition: change the partitioned table"
    elif table["is_child"]:
        yield f"{table['name']} inherits from another table: change that one"
    if table["is_parent"] and table["kind"] == "r":
        yield f"other tables inherit from {table['name']}, which a trigger on it does not see"
    if table["is_typed"]:
        yield f"{table['name']} is made of a composite type, and takes no column of its own"


def _of_partitions(query: Query) -> Iterator[str]:
    if query(_PARTITION_KEY):
        yield "it is part of the partition key: make a new table and move the rows"
    for row in query(_OWN_INDEXES):
        if row["is_constraint"]:
            yield (
                f"constraint {row['name']} is on a partitioned table, where it cannot be made of an index:"
                " drop it in a migration before"
            )
        elif row["is_deep"]:
            yield f"index {row['name']} goes over partitions that are partitioned themselves: drop it before"
    for row in query(_PARTITION_FOREIGN_KEYS):
        yield f"foreign key {row['name']} belongs to a partitioned table: drop it in a migration before"
    for row in query(_PARTITION_OBJECTS):
        yield f"{row['description']} belongs to a partition alone: drop it in a migration before"
    for row in query(_FOREIGN_PARTITIONS):
        yield f"partition {row['name']} is a foreign table"


# Of what depends on the column, its own default and sequence, indexes and constraints are carried over.
_DEPENDENTS = """
    SELECT DISTINCT c.relname AS catalog,
        CASE WHEN d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
                THEN CASE WHEN w.relkind IN ('v', 'm')
                    THEN pg_catalog.pg_describe_object('pg_catalog.pg_class'::pg_catalog.regclass, w.oid, 0)
                    ELSE pg_catalog.pg_describe_object(d.classid, d.objid, 0) END
            WHEN d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
                THEN 'column ' || a.attname
            ELSE pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) END AS description
    FROM pg_catalog.pg_depend AS d
    JOIN pg_catalog.pg_class AS c ON c.oid = d.classid
    LEFT JOIN pg_catalog.pg_rewrite AS r
        ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND r.oid = d.objid
    LEFT JOIN pg_catalog.pg_class AS w ON w.oid = r.ev_class
    LEFT JOIN pg_catalog.pg_attrdef AS f
        ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND f.oid = d.objid
    LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
    WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = %(table)s
        AND d.refobjsubid = %(number)s
        AND NOT (d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND (
            d.objid = %(table)s OR (SELECT relkind FROM pg_catalog.pg_class WHERE oid = d.objid) IN ('i', 'I', 'S')))
        AND d.classid <> 'pg_catalog.pg_constraint'::pg_catalog.regclass
        AND NOT (d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND f.adrelid = %(table)s
            AND f.adnum = %(number)s)
        AND NOT (d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass
            AND (SELECT tgisinternal FROM pg_catalog.pg_trigger WHERE oid = d.objid))
    UNION
    -- Where a generated column stands in pg_depend itself and not with its expression.
    SELECT 'pg_attrdef', 'column ' || a.attname
    FROM pg_catalog.pg_depend AS d
    JOIN pg_catalog.pg_attribute AS a
        ON a.attrelid = d.objid AND a.attnum = d.objsubid AND a.attgenerated <> ''
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = %(table)s
        AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
        AND d.refobjid = %(table)s AND d.refobjsubid = %(number)s
    ORDER BY 1, 2
"""

_INDEXES = """
    SELECT DISTINCT c.relname AS name, i.indisexclusion OR coalesce(k.contype = 'x', false) AS is_exclusion,
        i.indisreplident AS is_identity, NOT i.indimmediate AS is_deferrable,
        i.indisvalid OR (SELECT relkind FROM pg_catalog.pg_class WHERE oid = i.indrelid) = 'p' AS is_valid
    FROM pg_catalog.pg_index AS i
    JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
    LEFT JOIN pg_catalog.pg_constraint AS k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid
    LEFT JOIN pg_catalog.pg_depend AS d
        ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = i.indexrelid
        AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
        AND d.refobjid = i.indrelid AND d.refobjsubid = %(number)s
    WHERE i.indrelid = %(table)s AND (%(number)s::int2 = ANY (i.indkey) OR d.objid IS NOT NULL)
    UNION
    -- The column may be in an expression or in the condition, for which the constraint and not the index depends on it.
    SELECT k.conname, true, false, false, true
    FROM pg_catalog.pg_constraint AS k
    JOIN pg_catalog.pg_depend AS d
        ON d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND d.objid = k.oid
    WHERE k.contype = 'x' AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
        AND d.refobjid = %(table)s AND d.refobjsubid = %(number)s
    ORDER BY 1
"""

_CONSTRAINTS = """
    SELECT k.conname AS name, {enforced} AS is_enforced,
        k.contype = 'f' AND k.conrelid = %(table)s
            AND pg_catalog.pg_get_constraintdef(k.oid) ~ (' ON DELETE SET (NULL|DEFAULT) \\(')
            AND %(number)s::int2 = ANY (k.conkey) AS is_partial,
        k.contype = 'f' AND k.conparentid = 0 AND k.conrelid <> %(table)s
            AND (SELECT relkind FROM pg_catalog.pg_class WHERE oid = k.conrelid) = 'p' AS is_partitioned
    FROM pg_catalog.pg_constraint AS k
    WHERE k.conparentid = 0
        AND ((k.conrelid = %(table)s AND %(number)s::int2 = ANY (k.conkey))
            OR (k.confrelid = %(table)s AND %(number)s::int2 = ANY (k.confkey)))
    ORDER BY k.conname
"""

_PARTITION_KEY = """
    SELECT FROM pg_catalog.pg_partitioned_table AS p
    WHERE p.partrelid = %(table)s
        AND (%(number)s::int2 = ANY (p.partattrs)
            OR EXISTS (SELECT FROM pg_catalog.pg_depend AS d
                WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                AND d.objid = p.partrelid AND d.objsubid = 0
                AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                AND d.refobjid = p.partrelid AND d.refobjsubid = %(number)s))
"""

_OWN_INDEXES = """
    SELECT c.relname AS name, i.indisunique AND EXISTS (SELECT FROM pg_catalog.pg_constraint AS k
            WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u')) AS is_constraint,
        EXISTS (SELECT FROM pg_catalog.pg_partition_tree(i.indrelid) AS t WHERE t.level > 1) AS is_deep
    FROM pg_catalog.pg_index AS i
    JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid
    WHERE i.indrelid = %(table)s
        AND (%(number)s::int2 = ANY (i.indkey)
            OR EXISTS (SELECT FROM pg_catalog.pg_depend AS d
                WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = i.indexrelid
                AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                AND d.refobjid = i.indrelid AND d.refobjsubid = %(number)s))
    ORDER BY c.relname
"""

_PARTITION_FOREIGN_KEYS = """
    SELECT k.conname AS name
    FROM pg_catalog.pg_constraint AS k
    WHERE k.contype = 'f' AND k.conparentid = 0
        AND ((k.conrelid = %(table)s AND %(number)s::int2 = ANY (k.conkey))
            OR (k.confrelid = %(table)s AND %(number)s::int2 = ANY (k.confkey)))
    ORDER BY k.conname
"""

_PARTITION_OBJECTS = """
    SELECT DISTINCT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) AS description
    FROM pg_catalog.pg_partition_tree(%(table)s) AS t
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.relid AND a.attname = %(column)s
    JOIN pg_catalog.pg_depend AS d
        ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = t.relid
        AND d.refobjsubid = a.attnum
    WHERE t.level > 0
        AND NOT (d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND (d.objid = t.relid
            OR EXISTS (SELECT FROM pg_catalog.pg_inherits AS h WHERE h.inhrelid = d.objid)))
        AND NOT (d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND EXISTS (
            SELECT FROM pg_catalog.pg_constraint AS k
            WHERE k.oid = d.objid AND (k.conparentid <> 0 OR k.coninhcount > 0)))
        AND NOT (d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND EXISTS (
            SELECT FROM pg_catalog.pg_trigger AS g WHERE g.oid = d.objid AND g.tgisinternal))
        AND d.classid <> 'pg_catalog.pg_attrdef'::pg_catalog.regclass
    ORDER BY 1
"""

_FOREIGN_PARTITIONS = """
    SELECT c.relname AS name
    FROM pg_catalog.pg_partition_tree(%(table)s) AS t
    JOIN pg_catalog.pg_class AS c ON c.oid = t.relid
    WHERE c.relkind = 'f'
    ORDER BY c.relname
"""
