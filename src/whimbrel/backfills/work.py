"""What a backfill is to do."""

from __future__ import annotations

from dataclasses import dataclass

from whimbrel.backfills.keyset import Keyset
from whimbrel.statements.batch import Batch


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done: the statement, by which keys, and how large a batch is (None: by the time it takes).

    `max_lag` is how far a standby may lag behind, in seconds, 0 for any.
    """

    batch: Batch
    keyset: Keyset
    size: int | None
    max_lag: float
