"""The people of the tests, and how they come into the database."""

from __future__ import annotations

from uuid import UUID

import psycopg
from psycopg.rows import TupleRow

ALICE = UUID("a1111111-1111-1111-1111-111111111111")
BOB = UUID("b2222222-2222-2222-2222-222222222222")
CHARLIE = UUID("c3333333-3333-3333-3333-333333333333")
DAVE = UUID("d4444444-4444-4444-4444-444444444444")
EVE = UUID("e5555555-5555-5555-5555-555555555555")


def add_user(db: psycopg.Connection[TupleRow], user: UUID) -> UUID:
    db.execute("INSERT INTO auth.users (id, email) VALUES (%s, %s)", (user, f"{user}@example.com"))
    return user
