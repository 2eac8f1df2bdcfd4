"""From the locks that a statement's text tells to the relations in the catalog that they are on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from psycopg import sql

from whimbrel.database import Connection
from whimbrel.statements.locks import TableLock

# The query `wanted (oid, mode)`, behind WITH RECURSIVE; one branch for each Reach.
WANTED = sql.SQL(
    """
    named AS (
        SELECT
            CASE w.reach
                WHEN 'schema' THEN pg_catalog.to_regnamespace(w.name)::oid
                WHEN 'domain' THEN pg_catalog.to_regtype(w.name)::oid
                ELSE pg_catalog.to_regclass(w.name)::oid
            END AS oid, w.mode, w.reach, w.with_children, w.part
        FROM ROWS FROM (
            pg_catalog.unnest(%(names)s::text[]), pg_catalog.unnest(%(modes)s::text[]),
            pg_catalog.unnest(%(reaches)s::text[]), pg_catalog.unnest(%(children)s::boolean[]),
            pg_catalog.unnest(%(parts)s::text[])
        ) AS w (name, mode, reach, with_children, part)
    ), tree AS (
        SELECT n.oid, n.mode, n.reach, n.with_children, n.part FROM named AS n WHERE n.oid IS NOT NULL
        UNION SELECT h.inhrelid, t.mode, t.reach, true, t.part
        FROM tree AS t JOIN pg_catalog.pg_inherits AS h ON h.inhparent = t.oid AND t.with_children
    ), foreign_keys AS (
        SELECT c.oid, c.conrelid, c.confrelid, t.mode, t.reach
        FROM tree AS t
        JOIN pg_catalog.pg_constraint AS c ON c.contype = 'f'
            AND t.oid = CASE t.reach WHEN 'referenced' THEN c.conrelid ELSE c.confrelid END
        WHERE t.reach IN ('referenced', 'referencing', 'cascaded') AND (
            t.part = '' OR t.reach = 'referenced' AND t.part = c.conname
            OR EXISTS (
                SELECT FROM pg_catalog.pg_attribute AS a
                WHERE a.attrelid = t.oid AND a.attname = t.part
                    AND a.attnum = ANY (CASE t.reach WHEN 'referenced' THEN c.conkey ELSE c.confkey END))
            OR EXISTS (
                SELECT FROM pg_catalog.pg_constraint AS u
                WHERE t.reach <> 'referenced' AND u.conrelid = t.oid AND u.conname = t.part
                    AND u.conindid = c.conindid))
        -- A partition has its own copy of a foreign key, whichever side it is on.
        UNION SELECT c.oid, c.conrelid, c.confrelid, f.mode, f.reach
        FROM foreign_keys AS f
        JOIN pg_catalog.pg_constraint AS c ON c.contype = 'f'
            AND (c.conparentid = f.oid OR f.reach = 'cascaded' AND c.confrelid = f.conrelid)
    ), contained AS (
        SELECT k.oid, t.mode FROM tree AS t JOIN pg_catalog.pg_class AS k ON k.relnamespace = t.oid
        WHERE t.reach = 'schema' AND k.relkind IN ('r', 'p', 'm', 'v', 'f', 'S')
    ), dependent AS (
        (
            SELECT t.oid, t.mode, t.part FROM tree AS t WHERE t.reach = 'dependent'
            UNION SELECT n.oid, n.mode, '' FROM contained AS n
        )
        UNION SELECT r.ev_class, d.mode, ''
        FROM dependent AS d
        JOIN pg_catalog.pg_depend AS p ON p.refclassid = 'pg_catalog.pg_class'::regclass AND p.refobjid = d.oid
        JOIN pg_catalog.pg_rewrite AS r ON p.classid = 'pg_catalog.pg_rewrite'::regclass AND r.oid = p.objid
        WHERE d.part = '' OR EXISTS (
            SELECT FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = d.oid AND a.attname = d.part AND a.attnum = p.refobjsubid)
    ), wanted AS (
        SELECT t.oid, t.mode FROM tree AS t WHERE t.reach = 'relation'
        UNION SELECT i.indrelid, t.mode FROM tree AS t JOIN pg_catalog.pg_index AS i ON i.indexrelid = t.oid
        WHERE t.reach = 'indexed'
        UNION SELECT i.indexrelid, t.mode FROM tree AS t JOIN pg_catalog.pg_index AS i ON i.indrelid = t.oid
        WHERE t.reach = 'indexes'
        UNION SELECT CASE f.reach WHEN 'referenced' THEN f.confrelid ELSE f.conrelid END, f.mode FROM foreign_keys AS f
        UNION SELECT h.inhparent, t.mode FROM tree AS t JOIN pg_catalog.pg_inherits AS h ON h.inhrelid = t.oid
        JOIN pg_catalog.pg_class AS k ON k.oid = t.oid AND k.relispartition
        WHERE t.reach = 'parent'
        UNION SELECT p.partdefid, t.mode
        FROM tree AS t
        LEFT JOIN pg_catalog.pg_inherits AS h ON h.inhrelid = t.oid AND t.reach = 'parent'
        JOIN pg_catalog.pg_partitioned_table AS p ON p.partrelid = coalesce(h.inhparent, t.oid)
        WHERE t.reach IN ('parent', 'default') AND p.partdefid <> 0
        UNION SELECT d.oid, d.mode FROM dependent AS d
        UNION SELECT a.attrelid, t.mode
        FROM tree AS t
        JOIN pg_catalog.pg_attribute AS a ON a.atttypid = t.oid AND NOT a.attisdropped
        JOIN pg_catalog.pg_class AS k ON k.oid = a.attrelid AND k.relkind IN ('r', 'p', 'm')
        WHERE t.reach = 'domain'
        UNION SELECT n.oid, n.mode FROM contained AS n
        UNION SELECT CASE n.oid WHEN c.conrelid THEN c.confrelid ELSE c.conrelid END, n.mode
        FROM contained AS n
        JOIN pg_catalog.pg_constraint AS c ON n.oid IN (c.conrelid, c.confrelid) AND c.contype = 'f'
    )
    """
)


def parameters(locks: Sequence[TableLock]) -> dict[str, list[str] | list[bool]]:
    """Return the parameters of the query WANTED."""
    return {
        "names": [lock.relation for lock in locks],
        "modes": [lock.mode for lock in locks],
        "reaches": [lock.reach.value for lock in locks],
        "children": [lock.with_children for lock in locks],
        "parts": [lock.part for lock in locks],
    }


def find_locked(connection: Connection, locks: Iterable[TableLock]) -> list[tuple[int, str]]:
    """Return the relations that are there now and that some locks are on, each as an OID with the mode."""
    query = sql.SQL("WITH RECURSIVE {wanted} SELECT oid, mode FROM wanted ORDER BY 1, 2").format(wanted=WANTED)
    return [(int(oid), str(mode)) for oid, mode in connection.execute(query, parameters(list(locks))).fetchall()]


def find_existing(connection: Connection, locks: Iterable[TableLock]) -> frozenset[TableLock]:
    """Return those of some locks whose name is that of something that is there."""
    wanted = list(dict.fromkeys(locks))
    rows = connection.execute(
        """
        SELECT w.place
        FROM ROWS FROM (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[])) WITH ORDINALITY
            AS w (name, reach, place)
        WHERE CASE w.reach
            WHEN 'schema' THEN pg_catalog.to_regnamespace(w.name) IS NOT NULL
            WHEN 'domain' THEN pg_catalog.to_regtype(w.name) IS NOT NULL
            ELSE pg_catalog.to_regclass(w.name) IS NOT NULL
        END
        """,
        [[lock.relation for lock in wanted], [lock.reach.value for lock in wanted]],
    ).fetchall()
    return frozenset(wanted[int(row[0]) - 1] for row in rows)
