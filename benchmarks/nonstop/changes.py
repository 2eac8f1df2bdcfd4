"""What is changed, as plain SQL and as migrations, with the reason: the one source of docs/nonstop.md and the runs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

FOLDER = Path(__file__).parent / "changes"


class Company(StrEnum):
    """Who else is on the table."""

    NOBODY = "nobody"
    # A transaction that has read from it and stays open for some seconds.
    READER = "reader"
    AUTOVACUUM = "autovacuum"


@dataclass(frozen=True, slots=True)
class Change:
    """A folder with plain.sql, the migrations, and check.sql, a query that is true when the change is there.

    `is_deployed` says that the application changes with it: with plain SQL afterwards, with migrations before the last
    of them. `is_long`: it touches every row, and is measured once unless something else is asked for. `sources` is the
    change whose files it has, if not its own; `expansion` are the words behind `whimbrel create --expand` that write
    them.
    """

    name: str
    title: str
    why: str
    company: Company = Company.NOBODY
    is_deployed: bool = False
    is_long: bool = False
    sources: str = ""
    expansion: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return FOLDER / (self.sources or self.name)

    @property
    def plain(self) -> Path:
        return self.folder / "plain.sql"

    @property
    def check(self) -> Path:
        return self.folder / "check.sql"

    @property
    def migrations(self) -> list[Path]:
        """The up files, in order."""
        return sorted(self.folder.glob("*.up.sql"))


CHANGES = (
    Change(
        "add-column",
        "Add a column with a default",
        "A constant default is stored once, not in every row, so this is short. It needs the strongest lock there is: "
        "how long it may wait for that is what matters. A default that differs from row to row, as "
        "`gen_random_uuid()`, would rewrite the table: add the column without it, set the default, fill it.",
    ),
    Change(
        "add-not-null",
        "Add NOT NULL",
        "SET NOT NULL reads the whole table while nobody may use it. A CHECK that is NOT VALID holds for new rows at "
        "once; VALIDATE reads the table while everybody goes on; then SET NOT NULL sees the proof and reads nothing.",
    ),
    Change(
        "add-foreign-key",
        "Add a foreign key",
        "Both tables refuse writes while every row is looked up. NOT VALID checks new rows only, and VALIDATE the old "
        "ones under a lock that readers and writers do not notice.",
    ),
    Change(
        "add-unique",
        "Add a unique constraint",
        "The constraint would build its index while nobody may use the table. The index can be built beforehand, "
        "concurrently; the constraint then takes it over.",
    ),
    Change(
        "add-index",
        "Add an index",
        "CREATE INDEX refuses writes until it is done. CONCURRENTLY takes longer and refuses nothing; it cannot run in "
        "a transaction, so it has a migration to itself.",
    ),
    Change(
        "drop-index",
        "Drop an index",
        "DROP INDEX takes the strongest lock on the table: short, if nobody holds it up. CONCURRENTLY waits for "
        "whoever uses the index and keeps nobody out.",
    ),
    Change(
        "widen-integer",
        "Make an int a bigint",
        "The table and all its indexes are rewritten while nobody may use them. Instead a second column is kept in "
        "step by a trigger, filled in batches, and put into the place of the first.",
        is_long=True,
        expansion=("retype", "messages.messages.sequence_number", "bigint"),
    ),
    Change(
        "widen-varchar",
        "Widen a varchar",
        "PostgreSQL knows that every old value fits and reads no row. As with a new column, only the lock matters.",
    ),
    Change(
        "rename-column",
        "Rename a column",
        "The statement takes a moment, but from then on every client with the old name fails, until the last of them "
        "is replaced. With both columns there for a while, kept in step by a trigger, old and new clients work side by "
        "side. The last migration runs when no client uses the old name any more.",
        is_deployed=True,
        is_long=True,
        expansion=("rename", "messages.messages.client", "client_name"),
    ),
    Change(
        "drop-column",
        "Drop a column",
        "No row is touched. First deploy the application that does not name the column, then drop it. Indexes and "
        "constraints that have the column in them go with it.",
    ),
    Change(
        "add-check",
        "Add a CHECK",
        "As with NOT NULL: without NOT VALID all rows are read while nobody may use the table. The two statements have "
        "to be two migrations; in one transaction the lock of the first would be held through the second.",
    ),
    Change(
        "attach-partition",
        "Attach a partition",
        "Here the table in use becomes a partition. ATTACH reads all its rows, to see that they belong, while nobody "
        "may use it; with a valid CHECK that says as much, it reads none.",
    ),
    Change(
        "backfill",
        "Fill a column",
        "One UPDATE holds a lock on every row that it has come to, until its end: whoever edits one of them waits. In "
        "batches with a transaction each, nobody waits longer than for one batch.",
        is_long=True,
    ),
    Change(
        "add-column-reader",
        "Add a column while somebody reads for 5 s",
        "The statement waits for the reader, and everybody else for the statement. whimbrel does not queue behind a "
        "transaction that is older than its own patience; it looks again later.",
        company=Company.READER,
        sources="add-column",
    ),
    Change(
        "add-column-autovacuum",
        "Add a column while autovacuum is on the table",
        "An autovacuum gives way only to somebody who has waited for `deadlock_timeout`, 1 s. whimbrel waits that time "
        "in a weaker lock's queue, which keeps no reader or writer out, and asks for the strong lock afterwards.",
        company=Company.AUTOVACUUM,
        sources="add-column",
    ),
)


def shown(change: Change) -> list[tuple[str, str]]:
    """Return the SQL that a change recommends: names of files with what is in them."""
    return [(file.name, file.read_text(encoding="utf-8")) for file in change.migrations]
