"""Fuses and agents in the database: the last state of each, written together. Nothing here waits for a request."""

from dataclasses import dataclass, field

import msgspec

from gateway.core.fuse import FuseRecord
from gateway.core.lineage import AgentRecord
from gateway.stores.postgres.lines import Connection

_fuse = msgspec.json.Decoder(FuseRecord)
_agent = msgspec.json.Decoder(AgentRecord)


@dataclass(slots=True)
class Records:
    """What is to be written."""

    fuses: dict[str, FuseRecord] = field(default_factory=dict[str, FuseRecord])
    agents: dict[tuple[str, str, str], AgentRecord] = field(default_factory=dict[tuple[str, str, str], AgentRecord])

    def __bool__(self) -> bool:
        return bool(self.fuses or self.agents)

    async def write(self, connection: Connection) -> None:
        """Write what is queued; what cannot be written stays queued, unless it has changed since."""
        fuses, self.fuses = self.fuses, {}
        agents, self.agents = self.agents, {}
        try:
            if fuses:
                await _write_fuses(connection, fuses)
            if agents:
                await _write_agents(connection, agents)
        except BaseException:
            self.fuses = fuses | self.fuses
            self.agents = agents | self.agents
            raise


async def read_fuses(connection: Connection) -> list[FuseRecord]:
    """Every stored fuse."""
    return [_fuse.decode(row["record"]) for row in await connection.fetch("SELECT record FROM ringfence.fuses")]


async def read_agents(connection: Connection, since_ms: int) -> list[AgentRecord]:
    """Agents last seen at or after `since_ms`, those seen first before the others."""
    query = "SELECT record FROM ringfence.agents WHERE last_seen_ms >= $1 ORDER BY last_seen_ms"
    return [_agent.decode(row["record"]) for row in await connection.fetch(query, since_ms)]


async def _write_fuses(connection: Connection, fuses: dict[str, FuseRecord]) -> None:
    ids = sorted(fuses)
    await connection.execute(
        "INSERT INTO ringfence.fuses SELECT * FROM unnest($1::text[], $2::text[]) "
        "ON CONFLICT (id) DO UPDATE SET record = excluded.record",
        *(ids, [msgspec.json.encode(fuses[id]).decode() for id in ids]),
    )


async def _write_agents(connection: Connection, agents: dict[tuple[str, str, str], AgentRecord]) -> None:
    """An agent that two replicas serve keeps what was seen last."""
    keys = sorted(agents)
    credentials, sessions, names = zip(*keys, strict=True)
    await connection.execute(
        "INSERT INTO ringfence.agents AS a SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], "
        "$5::text[]) ON CONFLICT (credential, session, agent) DO UPDATE SET last_seen_ms = excluded.last_seen_ms, "
        "record = excluded.record WHERE a.last_seen_ms <= excluded.last_seen_ms",
        *(credentials, sessions, names, [agents[key].last_seen_ms for key in keys]),
        [msgspec.json.encode(agents[key]).decode() for key in keys],
    )
