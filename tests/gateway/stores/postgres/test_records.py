"""Fuses and agents: the last state of each, also when two gateways write the same agent."""

import msgspec
import pytest

from gateway.core.fuse import FuseRecord
from gateway.core.lineage import AgentRecord
from gateway.stores.postgres.lines import Line
from gateway.stores.postgres.records import Records, read_agents, read_fuses
from gateway.stores.postgres.schema import migrate
from tests.support.postgres import postgres_server


@pytest.fixture
async def line() -> Line:
    server = postgres_server()
    url = server.url(server.fresh())
    await migrate(url)
    return Line(url, "test")


def agent(name: str, seen: int) -> AgentRecord:
    return msgspec.convert(_fields() | {"agent": name, "last_seen_ms": seen}, AgentRecord)


def _fields() -> dict[str, object]:
    fields: dict[str, object] = {"session": "s", "credential": "c", "user": "u", "client": "x", "inferred": False}
    fields |= dict.fromkeys(("parent", "agent_type", "model", "workspace"))
    counts = "depth first_seen_ms requests tool_calls denials output_tokens total_tokens cost_nanousd".split()
    return fields | dict.fromkeys(counts, 1)


async def test_last_state_is_kept(line: Line) -> None:
    records = Records()
    async with line.use() as connection:
        for state in ("warned", "blown"):
            fuse = FuseRecord("f", "agent", "s/a", "requests", state, 5, 5, at_ms=1)
            records.fuses["f"] = fuse
            await records.write(connection)
        assert [each.state for each in await read_fuses(connection)] == ["blown"]
    assert not records
    await line.close()


async def test_agent_that_two_gateways_write_keeps_what_was_seen_last(line: Line) -> None:
    records = Records()
    async with line.use() as connection:
        for seen in (10, 30, 20):
            records.agents["c", "s", "a"] = agent("a", seen)
            records.agents["c", "s", "b"] = agent("b", 5)
            await records.write(connection)
        assert [(each.agent, each.last_seen_ms) for each in await read_agents(connection, 0)] == [("b", 5), ("a", 30)]
        assert await read_agents(connection, 31) == []
    await line.close()


async def test_what_cannot_be_written_stays_queued_unless_it_changed(line: Line) -> None:
    records = Records()
    records.fuses["f"] = FuseRecord("f\0", "agent", "s/a", "requests", "blown", 5, 5, at_ms=1)
    async with line.use() as connection:
        await connection.execute("DROP TABLE ringfence.fuses")
        with pytest.raises(Exception, match="fuses"):
            await records.write(connection)
    assert list(records.fuses) == ["f"]
    await line.close()
