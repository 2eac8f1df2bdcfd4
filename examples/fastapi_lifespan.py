"""A FastAPI application that migrates its own database when it starts.

Run it with: DATABASE_URL=postgresql://… uvicorn --factory examples.fastapi_lifespan:app
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Response

import whimbrel

# In an installed application: importlib.resources.files("yourapp") / "migrations"
MIGRATIONS = Path(__file__).parent / "migrations"


def create_app(dsn: str) -> FastAPI:
    """Return the application for the database that a DSN names."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        # In a thread: whimbrel waits for the server, and the event loop has other things to do meanwhile. Where several
        # replicas start at once, one migrates and the others wait for it. An error ends the start-up.
        await asyncio.to_thread(whimbrel.migrate, MIGRATIONS, dsn)
        yield

    app = FastAPI(lifespan=lifespan)

    # FastAPI runs a function that is not async in a thread.
    def health(response: Response) -> dict[str, object]:
        """Say whether the database is what this version of the application expects."""
        states = whimbrel.read_status(MIGRATIONS, dsn)
        pending = [state.version for state in states if state.applied is None]
        if pending:
            response.status_code = 503
        return {"applied": len(states) - len(pending), "pending": pending}

    app.add_api_route("/health", health)
    return app


def app() -> FastAPI:
    """Return the application for the database of DATABASE_URL."""
    return create_app(os.environ["DATABASE_URL"])
