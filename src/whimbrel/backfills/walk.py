"""Run one UPDATE or DELETE in batches: from the cursor to the table's end, and again until no row is left."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from psycopg.pq.abc import PGresult

from whimbrel.backfills import cursor, refusals, sights, transaction
from whimbrel.backfills.cursor import Progress
from whimbrel.backfills.keyset import EXACT
from whimbrel.backfills.pace import first_pace, rest_after
from whimbrel.backfills.pauses import LOOK_INTERVAL, Patience
from whimbrel.backfills.telling import Teller
from whimbrel.backfills.transaction import Message, Part, Refused, Terms
from whimbrel.backfills.work import Work
from whimbrel.events import Warned

# How long others have the rows to themselves after a batch that was in the way, in seconds.
_PAUSE = (0.5, 1.5)
# From this walk on it is said that it goes on and on.
_MANY_WALKS = 4
_WAITERS = (
    b"SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks WHERE NOT granted AND locktype = 'transactionid'"
    b" AND transactionid = pg_catalog.pg_current_xact_id_if_assigned()::xid"
)

_T = TypeVar("_T")
_Otherwise = TypeVar("_Otherwise")


@dataclass(frozen=True, slots=True)
class _Page:
    """The next rows: how many, and the key of the last."""

    rows: int
    last: tuple[str, ...]


def walk(terms: Terms, work: Work, begun: Progress) -> Progress:
    """Run a backfill from where it is to its end, and return how far it came: no row is left that the statement finds.

    Each batch is a transaction that moves the cursor on, too: after a kill the next call goes on behind the last one
    that was committed. Raises LockNotObtained where it gets no further for as long as the budget says, and
    StatementFailed for what the server refuses, or where the statement leaves rows that its own WHERE clause finds.
    """
    return _Walk(terms, work, begun).run()


class _Walk:
    def __init__(self, terms: Terms, work: Work, begun: Progress) -> None:
        self._terms = terms
        self._work = work
        self._progress = begun
        self._pace = first_pace(work.size, begun.batch)
        self._patience = Patience(work.max_lag)
        self._teller = Teller(terms.emit, terms.step)
        # Whether this run has committed a batch.
        self._has_begun = False
        # Since when it gets no further, None while it does.
        self._stuck: float | None = None
        batch, keyset = work.batch, work.keyset
        # Of the first batch of a walk, which begins behind no key, and of the others.
        self._pages = {first: keyset.page(batch, is_first=first) for first in (True, False)}
        self._statements = {first: batch.restricted(keyset.condition(batch, is_first=first)) for first in (True, False)}
        self._checks = {first: _check(work, is_first=first) for first in (True, False)}

    def run(self) -> Progress:
        while True:
            while not self._try(self._step, False):
                pass
            self._tell("looking for rows that are left", is_always=True)
            while (is_left := self._try(self._is_left, None)) is None:
                pass
            if not is_left:
                break
            if self._progress.walk > 1 and self._progress.walk_changed == 0:
                # What the first walk has left may have come in behind its cursor; before a later one it was there.
                raise refusals.changes_nothing(self._work.batch, self._progress)
            while not self._try(self._begin_again, False):
                pass
        while not self._try(self._finish, False):
            pass
        self._tell(is_always=True)
        return self._progress

    def _step(self) -> bool:
        """Run a batch; say whether it was the last of this walk."""
        self._make_way()
        asked = self._pace.batch
        page = self._page(asked)
        if page is None:
            return True
        start = time.monotonic()
        waiters = self._commit(page)
        passed = time.monotonic() - start
        self._pace = self._pace.after(page.rows, passed, is_in_the_way=waiters > 0)
        self._teller.count(page.rows, passed)
        self._tell()
        if page.rows < asked:
            return True
        time.sleep(rest_after(passed))
        return False

    def _page(self, rows: int) -> _Page | None:
        found: list[tuple[str, ...]] = []

        def take(part: Part, result: PGresult) -> None:
            if part is Part.RESULT and result.ntuples:
                values = (result.get_value(0, column) for column in range(result.nfields))
                found.append(tuple((value or b"").decode() for value in values))

        key = self._progress.cursor
        parameters = [*_encoded(key), str(rows).encode()]
        transaction.run(self._terms, [(Part.RESULT, self._pages[key is None], parameters)], take, EXACT)
        return _Page(int(found[0][0]), found[0][1:]) if found else None

    def _commit(self, page: _Page) -> int:
        """Run the statement for a page and move the cursor on; return how many sessions had to wait for that."""
        terms, before = self._terms, self._progress
        first = before.cursor is None
        parameters = [*_encoded(before.cursor), *_encoded(page.last)]
        sent: list[Message] = [(Part.STATEMENT, self._statements[first], parameters)]
        check = self._checks[first]
        if check is not None:
            sent.append((Part.CHECK, check, parameters))
        changed = waiters = 0
        after = before

        def take(part: Part, result: PGresult) -> None:
            nonlocal changed, waiters
            if part is Part.STATEMENT:
                changed = result.command_tuples or 0
            elif part is Part.RESULT:
                waiters = int(result.get_value(0, 0) or b"0")

        def conclude() -> list[Message]:
            nonlocal after
            after = replace(
                before,
                cursor=page.last,
                walked=before.walked + page.rows,
                walk_changed=before.walk_changed + changed,
                changed=before.changed + changed,
                batches=before.batches + 1,
                batch=self._pace.batch,
            )
            return [
                # Whom this very transaction keeps waiting.
                (Part.RESULT, _WAITERS, ()),
                *transaction.own(terms.as_oneself),
                *transaction.own(() if self._has_begun else terms.on_begin),
                (Part.CURSOR, *cursor.advance(terms.config, before, after)),
            ]

        transaction.run(terms, sent, take, conclude=conclude)
        self._progress = after
        self._has_begun = True
        return waiters

    def _is_left(self) -> bool:
        """Say whether the statement would find a row anywhere."""
        found: list[bool] = []

        def take(part: Part, result: PGresult) -> None:
            if part is Part.RESULT:
                found.append(result.get_value(0, 0) == b"t")

        proof = self._work.batch.select("SELECT EXISTS (SELECT", ")")
        # It reads, and keeps nobody waiting.
        transaction.run(self._terms, [(Part.RESULT, proof, ())], take, {"statement_timeout": "0"})
        return found[0]

    def _begin_again(self) -> bool:
        terms, before = self._terms, self._progress
        after = replace(before, cursor=None, walk=before.walk + 1, walked=0, walk_changed=0)
        move: Message = (Part.CURSOR, *cursor.advance(terms.config, before, after))
        transaction.run(terms, [*transaction.own(terms.as_oneself), move], transaction.ignore_result)
        self._progress = after
        if after.walk == _MANY_WALKS:
            terms.emit(
                Warned(
                    f"rows of {after.table} keep coming that the statement finds; it is walked again until none is"
                    " left: let a trigger or a default fill new rows"
                )
            )
        return True

    def _finish(self) -> bool:
        terms = self._terms
        sent = [*terms.as_oneself, cursor.finish(terms.config, self._progress), *terms.on_finish]
        transaction.run(terms, transaction.own(sent), transaction.ignore_result)
        return True

    def _try(self, attempt: Callable[[], _T], otherwise: _Otherwise) -> _T | _Otherwise:
        """Return what an attempt returns, or `otherwise` after the pause that follows one that is to be made again."""
        try:
            result = attempt()
        except Refused as refused:
            self._recover(refused)
            return otherwise
        self._stuck = None
        return result

    def _recover(self, refused: Refused) -> None:
        """Wait a moment behind what was in somebody's way. Raises what is no reason to try again."""
        if not refused.is_passing:
            raise refusals.final(self._terms, self._work, self._progress, refused)
        now = time.monotonic()
        self._stuck = self._stuck if self._stuck is not None else now - refused.passed
        holder = sights.find_holder(self._terms.connection, self._work.keyset.relation)
        self._pace = self._pace.after_failure()
        if self._terms.budget and now - self._stuck >= self._terms.budget:
            raise refusals.gets_no_further(self._progress, refused, holder, now - self._stuck)
        is_slow = refused.diagnostic.sqlstate == transaction.CANCELLED
        waits = "the last batch took too long" if is_slow else f"waiting for rows that {holder or 'somebody'} has"
        self._tell(waits, is_always=True)
        time.sleep(random.uniform(*_PAUSE))  # noqa: S311

    def _make_way(self) -> None:
        """Wait while there is a reason to."""
        while self._patience.is_due(time.monotonic()):
            sight = sights.look(self._terms.connection, self._work.keyset.relation)
            reason = self._patience.decide(sight, time.monotonic())
            if reason is None:
                return
            self._tell(reason)
            time.sleep(LOOK_INTERVAL)

    def _tell(self, pause: str | None = None, *, is_always: bool = False) -> None:
        self._teller.tell(self._progress, self._pace.batch, pause, is_always=is_always)


def _check(work: Work, *, is_first: bool) -> bytes | None:
    """Return the query that fails where the statement has changed a row that its own WHERE clause still finds.

    Such a statement would never be done. Rows of others are not meant: xmin is the transaction's own.
    """
    batch, keyset = work.batch, work.keyset
    if batch.verb != "UPDATE":
        return None
    own = f"{batch.column('xmin')} = pg_catalog.pg_current_xact_id_if_assigned()::xid"
    condition = keyset.condition(batch, is_first=is_first)
    return batch.select(
        f"SELECT CAST((SELECT 'whimbrel left ' || {keyset.text(batch)}",
        f" AND {condition} AND {own} LIMIT 1) AS pg_catalog.int4)",
    )


def _encoded(key: tuple[str, ...] | None) -> list[bytes]:
    return [value.encode() for value in key or ()]
