"""The official SDK's client for spend limits against the gateway's: it sets, reads, lists and deletes them."""

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

import anthropic
import pytest

from tests.support.gateway import CREDENTIAL, OPERATOR, Serving, serving


@contextlib.asynccontextmanager
async def sdk(gateway: Serving, secret: str = OPERATOR) -> AsyncGenerator[anthropic.AsyncAnthropic]:
    """A client of the gateway; without a proxy, which is for other machines."""
    transport = anthropic.DefaultAsyncHttpxClient(trust_env=False)
    async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key=secret, http_client=transport) as client:
        yield client


async def test_sdk_sets_reads_and_deletes_a_limit(tmp_path: Path) -> None:
    async with serving(tmp_path, "http://127.0.0.1:9") as gateway, sdk(gateway) as client:
        limits = client.beta.organization.spend_limits
        made = await limits.set(amount="50000", scope={"type": "user", "user_id": "alice"}, period="daily")
        again = await limits.set(amount=None, scope={"type": "user", "user_id": "alice"}, period="daily")
        usual = await limits.set(amount="1", scope={"type": "organization"})
        read = await limits.retrieve(made.id)
        deleted = await limits.delete(made.id)
        assert made.amount == "50000" and made.currency == "USD" and made.is_enabled
        assert made.scope.type == "user" and made.scope.user_id == "alice"
        assert again.id == made.id and read == again and read.amount is None
        assert read.created_at.utcoffset() is not None and read.created_at <= read.updated_at
        assert usual.period == "monthly" and usual.scope.type == "organization"
        assert (deleted.id, deleted.type) == (made.id, "spend_limit_deleted")
        with pytest.raises(anthropic.NotFoundError, match="spend limit not found"):
            await limits.retrieve(made.id)


async def test_sdk_walks_all_pages_of_limits_and_of_members(tmp_path: Path) -> None:
    async with serving(tmp_path, "http://127.0.0.1:9") as gateway, sdk(gateway) as client:
        limits = client.beta.organization.spend_limits
        made = [
            (await limits.set(amount="5", scope={"type": "user", "user_id": user}, period="weekly")).id
            for user in ("alice", "bob", "carl", "dora", "emil")
        ]
        listed = [limit.id async for limit in limits.list(limit=2, scope_type=["user"])]
        none = [limit.id async for limit in limits.list(scope_type=["rbac_group"])]
        members = [row async for row in limits.effective.list(limit=2, period=["weekly"])]
        two = [row async for row in limits.effective.list(user_ids=["dora", "bob"])]
        assert listed == made and none == []
        assert [row.actor.user_id for row in members if row.actor.type == "user_actor"] == [
            "alice",
            "bob",
            "carl",
            "dora",
            "emil",
            "olga",
        ]
        assert [row.amount for row in members] == ["5"] * 5 + [None]
        assert [row.spend_limit_id for row in members[:5]] == made
        assert {(row.period, row.amount) for row in two} == {("daily", None), ("weekly", "5"), ("monthly", None)}
        assert all(row.period_to_date_spend == "0.00" for row in two)


async def test_sdk_raises_what_each_mistake_is(tmp_path: Path) -> None:
    async with serving(tmp_path, "http://127.0.0.1:9") as gateway:
        async with sdk(gateway) as client:
            with pytest.raises(anthropic.BadRequestError, match="whole-number decimal string of cents") as bad:
                await client.beta.organization.spend_limits.set(amount="1.5", scope={"type": "organization"})
            with pytest.raises(anthropic.BadRequestError, match="Invalid enum value"):
                await client.beta.organization.spend_limits.list(scope_type=["seat_tier"])
            assert bad.value.request_id is not None and bad.value.request_id.startswith("req_")
        async with sdk(gateway, CREDENTIAL) as client:
            with pytest.raises(anthropic.AuthenticationError, match="missing or invalid admin credentials"):
                await client.beta.organization.spend_limits.list()
