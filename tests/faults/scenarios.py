"""What runs while the faults strike: small folders of migrations, with the state before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

UP = ("up",)

# Every script says in `effects` that it ran, so that what happened can be set against what the log says happened.
_SAYS = "INSERT INTO effects (version, direction) VALUES ({}, '{}');\n"

_BASE = """
CREATE TABLE effects (id bigint GENERATED ALWAYS AS IDENTITY, version int, direction text);
CREATE TABLE account (id int, name text NOT NULL, region int);
INSERT INTO account SELECT n, 'name ' || n, n % 7 FROM generate_series(1, 300) AS n;
CREATE INDEX account_name ON account (name);
CREATE INDEX account_region ON account (region);
CREATE TABLE event (id int, day int) PARTITION BY LIST (day);
CREATE TABLE event_1 PARTITION OF event FOR VALUES IN (1);
CREATE TABLE event_2 PARTITION OF event FOR VALUES IN (2);
INSERT INTO event SELECT n, 1 + n % 2 FROM generate_series(1, 100) AS n;
"""

# Held by another session, so that a statement waits; taken and given back in turn. Nothing is written by them.
_WRITE = "LOCK TABLE account IN ROW EXCLUSIVE MODE"
_READ = "LOCK TABLE account IN ACCESS SHARE MODE"
_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1"
_VACUUM = "LOCK TABLE account IN SHARE UPDATE EXCLUSIVE MODE"

# A build waits for writers before it begins and before it looks a second time, and for old snapshots at the end.
_BUILD = (_WRITE, _WRITE, _SNAPSHOT)
# A rebuild then swaps, and waits for readers before the old index is dead and before it is dropped.
_REBUILD = (*_BUILD, _READ, _READ)


@dataclass(frozen=True)
class Scenario:
    """A command that is disturbed, and the commands that a person runs afterwards.

    `before` are applied first, by an undisturbed up. `hinted` are run instead of `again` where that is refused with a
    hint that names the first of them. `holds` are what other sessions hold one after the other, so that
    the command waits once in each of its phases. Every one of `consistent` leads from the state before to one in which
    the command may be stopped. `setting` is what ALTER SYSTEM sets. PostgreSQL can do it from version
    `since` on.
    """

    name: str
    before: Mapping[str, str]
    files: Mapping[str, str]
    command: tuple[str, ...] = UP
    again: tuple[tuple[str, ...], ...] = (UP,)
    hinted: tuple[tuple[str, ...], ...] = ()
    holds: tuple[str, ...] = ()
    consistent: tuple[tuple[str, ...], ...] = ()
    setting: str | None = None
    since: int = 13

    @property
    def is_transactional(self) -> bool:
        """Whether nothing of the command may be seen in the middle."""
        return bool(self.consistent)


def _pair(version: int, up: str, down: str = "") -> dict[str, str]:
    """Return the files of a migration, each of which also says that it ran."""
    files = {f"{version:06d}_m{version}.up.sql": up + "\n" + _SAYS.format(version, "up")}
    if down:
        files[f"{version:06d}_m{version}.down.sql"] = down + "\n" + _SAYS.format(version, "down")
    return files


_FIRST = _pair(1, _BASE)

_WIDEN = (
    "ALTER TABLE account ADD COLUMN email text;\n"
    "UPDATE account SET email = name || '@example.com';\n"
    "ALTER TABLE account ALTER COLUMN email SET NOT NULL;"
)
_NARROW = "ALTER TABLE account DROP COLUMN email;"
_BATCH = {
    **_pair(2, "CREATE TABLE second (id int PRIMARY KEY);", "DROP TABLE second;"),
    **_pair(3, _WIDEN, _NARROW),
    **_pair(4, "CREATE VIEW fourth AS SELECT count(*) FROM account;", "DROP VIEW fourth;"),
    **_pair(5, "INSERT INTO second VALUES (1), (2);", "DELETE FROM second;"),
    **_pair(6, "CREATE TABLE sixth (id int REFERENCES second);", "DROP TABLE sixth;"),
}
_ROWS = "".join(f"{number}\tname {number}\t{number % 7}\n" for number in range(1000, 9000))


def _autocommit(name: str, statement: str, holds: tuple[str, ...] = (), setting: str | None = None) -> Scenario:
    return Scenario(name, _FIRST, _pair(2, statement), holds=holds, setting=setting)


SCENARIOS = (
    Scenario("first", {}, _FIRST, consistent=(UP,)),
    Scenario("one", _FIRST, _pair(2, _WIDEN), holds=(_READ,), consistent=(UP,)),
    Scenario(
        "batch",
        _FIRST,
        _BATCH,
        holds=(_READ,),
        consistent=(*(("up", "--to", str(version)) for version in range(2, 6)), UP),
    ),
    Scenario(
        "copy",
        _FIRST,
        _pair(2, f"CREATE TABLE copied (LIKE account);\nCOPY copied FROM stdin;\n{_ROWS}\\.\nANALYZE copied;"),
        consistent=(UP,),
    ),
    _autocommit("index", "CREATE INDEX CONCURRENTLY made ON account (region, id);", _BUILD),
    # Without a name, an index that is there and valid may be this one or an older one.
    Scenario("index-unnamed", _FIRST, _pair(2, "CREATE INDEX CONCURRENTLY ON account (region, id);"), holds=_BUILD),
    _autocommit("index-unique", "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS made ON account (id);", _BUILD),
    _autocommit("drop-index", "DROP INDEX CONCURRENTLY account_region;", (_READ, _READ)),
    _autocommit("reindex-index", "REINDEX INDEX CONCURRENTLY account_region;", _REBUILD),
    # It has a TOAST table, whose index is built anew too.
    _autocommit("reindex-table", "REINDEX TABLE CONCURRENTLY account;", _REBUILD),
    Scenario(
        "detach",
        _FIRST,
        _pair(2, "ALTER TABLE event DETACH PARTITION event_1 CONCURRENTLY;"),
        holds=("LOCK TABLE ONLY event IN ACCESS SHARE MODE", "LOCK TABLE event_1 IN ACCESS SHARE MODE"),
        since=14,
    ),
    _autocommit("vacuum", "VACUUM account;", (_VACUUM,)),
    _autocommit("alter-system", "ALTER SYSTEM SET geqo_threshold = 13;", setting="geqo_threshold"),
    Scenario(
        "mixed",
        _FIRST,
        {
            **_pair(2, _WIDEN),
            **_pair(
                3, "CREATE INDEX CONCURRENTLY made ON effects (version);\nCREATE TABLE between ();\nVACUUM account;"
            ),
            **_pair(4, "CREATE TABLE fourth (id int);"),
        },
        # Migration 2 would wait for a writer of the table that it alters.
        holds=tuple(hold.replace("account", "effects") for hold in _BUILD),
    ),
    Scenario(
        "down",
        {**_FIRST, **_BATCH},
        {},
        ("down", "1", "--yes"),
        (("down", "1", "--yes"),),
        (),
        (_READ,),
        tuple(("down", str(version), "--yes") for version in range(5, 0, -1)),
    ),
    Scenario(
        "down-index",
        {
            **_FIRST,
            **_pair(2, "CREATE INDEX made ON account (region, id);", "DROP INDEX CONCURRENTLY made;"),
            **_pair(3, "CREATE TABLE third (id int);", "DROP TABLE third;"),
        },
        {},
        ("down", "1", "--yes"),
        (("down", "1", "--yes"),),
        (),
        (_READ, _READ),
    ),
    Scenario(
        "force",
        {**_FIRST, **_pair(2, "CREATE OR REPLACE VIEW many AS SELECT * FROM account WHERE region > 1;")},
        {},
        ("force", "2"),
        (("force", "2"),),
        consistent=(("force", "2"),),
    ),
    Scenario(
        "force-index",
        {
            **_FIRST,
            **_pair(2, "CREATE INDEX CONCURRENTLY IF NOT EXISTS made ON account (region, id);\nVACUUM account;"),
        },
        {},
        ("force", "2"),
        (("force", "2"),),
    ),
    Scenario(
        "redo",
        {**_FIRST, **_pair(2, _WIDEN, _NARROW)},
        {},
        ("redo", "2", "--yes"),
        (UP,),
        (),
        (_READ,),
        (("down", "1", "--yes"), ("redo", "2", "--yes")),
    ),
    Scenario(
        "redo-index",
        {
            **_FIRST,
            **_pair(
                2,
                "CREATE INDEX CONCURRENTLY made ON account (region, id);",
                "DROP INDEX CONCURRENTLY made;",
            ),
        },
        {},
        ("redo", "2", "--yes"),
        (UP,),
        (("down", "1", "--yes"), UP),
        (_READ, _READ, *_BUILD),
    ),
)

# More than a segment of the server's log in one file, in two steps: for a limit on the size of files.
BULK = Scenario(
    "bulk",
    _FIRST,
    {
        **_pair(2, "CREATE TABLE bulk (n int, filling text);"),
        **_pair(3, "INSERT INTO bulk SELECT n, repeat('x', 900) FROM generate_series(1, 17000) AS n;"),
        **_pair(
            4,
            "INSERT INTO bulk SELECT n, repeat('y', 900) FROM generate_series(17001, 34000) AS n;\n"
            "CREATE INDEX bulk_n ON bulk (n);",
        ),
    },
    consistent=(("up", "--to", "2"), ("up", "--to", "3"), UP),
)
