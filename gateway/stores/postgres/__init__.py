"""The store on Postgres. What is where: `store.py` implements the ports; this opens it."""

from pathlib import Path
from uuid import uuid4

from gateway.config import Store as StoreConfig
from gateway.core.money.limits import Limits
from gateway.core.money.windows import Calendar
from gateway.errors import GatewayError, Reason
from gateway.ports import NOBODY_TOLD, Told
from gateway.stores.postgres.credentials import PostgresCredentials as PostgresCredentials
from gateway.stores.postgres.journal import Journal, Left, left_behind
from gateway.stores.postgres.lane import Lane
from gateway.stores.postgres.lines import Failed, Line, StoreInvalid, explain
from gateway.stores.postgres.own import OwnHolds
from gateway.stores.postgres.schema import migrate
from gateway.stores.postgres.series import Known
from gateway.stores.postgres.store import PostgresStore as PostgresStore


async def open_postgres(
    config: StoreConfig,
    limits: Limits,
    calendar: Calendar,
    now_ms: int,
    *,
    told: Told = NOBODY_TOLD,
) -> PostgresStore:
    """Open the database, which is migrated first, and take over journals of dead processes in the configured folder.

    From now on `limits` are the configuration's for every replica. `told` hears of what
    settlements did.

    Raises:
        GatewayError: STORE_UNAVAILABLE, the database or the journal cannot be used; the message says what to do.
    """
    await migrate(config.url)
    owner = uuid4().hex
    known = Known(limits)
    lane = Lane(Line(config.url, "ledger"), known, calendar, own=OwnHolds(), owner=owner)
    lane.now_ms = now_ms
    lane.told = told
    left = [] if config.journal is None else _open_journal(lane, config.journal, owner)
    try:
        await lane.begin(limits)
    except Failed as error:
        await lane.close()
        raise StoreInvalid(config.url, explain(error)) from error
    store = PostgresStore(config, lane, known, calendar, owner)
    store.start(left)
    return store


def _open_journal(lane: Lane, folder: Path, owner: str) -> list[Left]:
    """Raises GatewayError."""
    try:
        lane.journal = Journal(folder, owner)
        return left_behind(folder)
    except OSError as error:
        problem = f"store.journal: {folder} cannot be written ({error.strerror or error}): make it writable"
        raise GatewayError(Reason.STORE_UNAVAILABLE, problem) from error
