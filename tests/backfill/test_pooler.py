"""A backfill through PgBouncer: in session mode as anywhere, in transaction mode refused."""

from __future__ import annotations

import pytest

import whimbrel
from whimbrel.errors import ConfigError

from ..pooling.bouncer import PROGRAM, run_bouncer
from .conftest import STATEMENT, Connection, counts, make_table

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed (make integration-packages)")


def test_in_session_mode_it_runs_and_leaves_nothing_on_the_poolers_session(dsn: str, connection: Connection) -> None:
    make_table(connection, 50)
    with run_bouncer(dsn, "session", server_reset_query="", default_pool_size="1") as bouncer:
        assert whimbrel.backfill(STATEMENT, bouncer.dsn, batch=10).changed == 50
        with bouncer.connect() as application:
            row = application.execute(
                "SELECT current_setting('TimeZone') = (SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'),"
                " current_setting('client_connection_check_interval')"
            ).fetchone()
            assert row == (True, "0")
            locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
            assert application.execute(locks).fetchone() == (0,)
    assert counts(connection) == [(1, 50)]


def test_in_transaction_mode_it_is_refused_before_anything_is_done(dsn: str, connection: Connection) -> None:
    make_table(connection, 50)
    with (
        run_bouncer(dsn, "transaction") as bouncer,
        pytest.raises(ConfigError, match="behind a pooler in transaction mode"),
    ):
        whimbrel.backfill(STATEMENT, bouncer.dsn, batch=10)
    assert counts(connection) == [(0, 50)]
    # Around it.
    with run_bouncer(dsn, "transaction") as bouncer:
        assert whimbrel.backfill(STATEMENT, bouncer.dsn, direct_url=dsn).changed == 50
