"""Several gateways on one Postgres, played as one store: each agent has its replica, any one expires what is due."""

import asyncio
from collections.abc import Sequence
from itertools import cycle

from gateway.config import Store as StoreConfig
from gateway.core.money.budgets import Expired, Hold, LimitView
from gateway.core.money.limits import Amounts, Limits, Series
from gateway.core.money.windows import Calendar
from gateway.stores.postgres import PostgresStore, open_postgres
from tests.simulation.keepers import Store


class Replicas:
    """What one agent does goes to one replica; what is read is read from the next one, when all have written."""

    def __init__(self, stores: Sequence[PostgresStore]) -> None:
        self._stores = stores
        self._turns = cycle(stores)

    def _of(self, hold_id: str) -> PostgresStore:
        return self._stores[int(hold_id.split(".")[0]) % len(self._stores)]

    async def reserve(self, hold: Hold) -> tuple[LimitView, ...]:
        return await self._of(hold.id).reserve(hold)

    async def extend(self, hold_id: str, worst: Amounts, expected: Amounts, now_ms: int) -> bool:
        return await self._of(hold_id).extend(hold_id, worst, expected, now_ms)

    def settle(self, hold_id: str, spent: Amounts, backend: str, now_ms: int) -> None:
        self._of(hold_id).settle(hold_id, spent, backend, now_ms)

    def release(self, hold_id: str) -> None:
        self._of(hold_id).release(hold_id)

    async def expire(self, now_ms: int) -> list[Expired]:
        await self.flush()
        return await next(self._turns).expire(now_ms)

    def is_strict(self, accounts: Sequence[str], model: str, backends: Sequence[str]) -> bool:
        return next(self._turns).is_strict(accounts, model, backends)

    def views(self, now_ms: int) -> list[LimitView]:
        return next(self._turns).views(now_ms)

    async def standing(self, accounts: Sequence[str], now_ms: int) -> list[LimitView]:
        await self.flush()
        return await next(self._turns).standing(accounts, now_ms)

    async def used(self, series: Sequence[Series], now_ms: int) -> list[int]:
        await self.flush()
        return await next(self._turns).used(series, now_ms)

    def spent(self, account: str) -> int:
        return next(self._turns).spent(account)

    def held_total(self) -> int:
        return sum(store.held_total() for store in self._stores)

    async def flush(self) -> None:
        await asyncio.gather(*(store.flush() for store in self._stores))

    async def close(self) -> None:
        for store in self._stores:
            await store.close()


class PostgresKeeper:
    """Replicas on one database. They are not killed here: the dead are expired by a heart that beats in real time."""

    can_be_killed = False
    hears_of_every_end = False

    def __init__(self, url: str, replicas: int = 3) -> None:
        self._config = StoreConfig(url)
        self._replicas = replicas

    async def open(self, limits: Limits, now_ms: int) -> tuple[Store, Sequence[Expired]]:
        opened = [await open_postgres(self._config, limits, Calendar(), now_ms) for _ in range(self._replicas)]
        return Replicas(opened), ()

    async def kill(self, store: Store) -> None:
        raise AssertionError("replicas are killed in a test of processes")
