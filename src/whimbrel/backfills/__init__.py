"""One UPDATE or DELETE in batches: keyset, pace, and a cursor that each batch's own transaction moves on."""

from whimbrel.backfills.cursor import Origin, Progress, read_all
from whimbrel.backfills.order import MAX_LAG, Order, lock_key, run
from whimbrel.backfills.transaction import Terms

__all__ = ["MAX_LAG", "Order", "Origin", "Progress", "Terms", "lock_key", "read_all", "run"]
