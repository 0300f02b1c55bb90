"""What a gateway stands on: prices laid over those of the package, and agents that are put back."""

import json
from pathlib import Path

from gateway.config import parse_config
from gateway.core.agents.lineage import SessionNode, Tree
from gateway.core.money.limits import Limits
from gateway.ground import AGENTS_REMEMBERED_MS, load_prices
from gateway.stores.sqlite import SqliteStore
from tests.support.clock import FakeClock
from tests.support.gateway import config_document, serving

NOWHERE = "http://127.0.0.1:9"


def test_configured_prices_are_laid_over_the_packaged_ones(tmp_path: Path) -> None:
    rates = {"input": 1, "output": 2, "cache_write_5m": 1, "cache_write_1h": 1, "cache_read": 1}
    model = {"id": "house-model", "ids": {"claude_api": "house-model"}, "context_window": 1000, "max_output": 10}
    priced = model | {"prices": [rates | {"effective_from": "2020-01-01"}]}
    (tmp_path / "prices.yaml").write_text(json.dumps({"schema": 1, "models": [priced]}))
    document = config_document(tmp_path, NOWHERE, prices={"path": "prices.yaml"})
    prices = load_prices(parse_config(json.dumps(document), tmp_path / "ringfence.yaml", {}))
    now_ms = FakeClock().now_ms
    house, packaged = prices.find("house-model", now_ms), prices.find("claude-opus-5-5", now_ms)
    assert house is not None and packaged is not None
    assert (house.rates.input, house.max_output, packaged.rates.output) == (1_000_000, 10, 20_000_000)


async def test_agents_of_the_last_days_are_put_back_and_older_ones_are_not(tmp_path: Path) -> None:
    clock = FakeClock()
    store = SqliteStore(tmp_path / "ringfence.db", Limits(), clock.now_ms)
    for session, age_ms in (("old", AGENTS_REMEMBERED_MS + 1), ("young", AGENTS_REMEMBERED_MS - 1)):
        node = SessionNode(session, "laptop", "alice", "", inferred=False)
        store.save_agent(Tree().add(node, "main", None, clock.now_ms - age_ms).record())
    await store.close()
    async with serving(tmp_path, NOWHERE, clock=clock) as gateway:
        shown = (await gateway.operator("sessions"))["sessions"]
    assert [session["session"] for session in shown] == ["young"]
