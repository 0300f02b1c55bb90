"""`ringfence limits|fuses|sessions`: what a running gateway knows, shown to people. Decides nothing."""

import msgspec
from rich.console import RenderableType
from rich.text import Text
from rich.tree import Tree

from gateway.commands.client import GatewayClient, path_part
from gateway.commands.limits import limit_table
from gateway.commands.output import amount, moment, plain, print_json, print_rich, table
from gateway.core.fuses.evidence import Evidence
from gateway.core.money.pricing import format_usd
from gateway.core.money.standing import Standing


class Limits(msgspec.Struct):
    """Answer of `/limits`."""

    limits: tuple[Standing, ...]


class FuseRow(msgspec.Struct):
    """One fuse."""

    id: str
    scope: str
    holder: str
    meter: str
    state: str
    limit: int
    value: int
    at_ms: int
    replaced_by: str | None = None
    replaced_reason: str | None = None
    baseline: int = 0
    on_blow: str = "refuse"
    replacements: int = 0
    wrapped_up: tuple[str, ...] = ()
    evidence: Evidence | None = None


class Fuses(msgspec.Struct):
    """Answer of `/fuses`."""

    fuses: list[FuseRow]


class AgentRow(msgspec.Struct):
    """One agent of a session; `parent` None: the session's first."""

    agent: str
    parent: str | None
    depth: int
    agent_type: str | None
    model: str | None
    requests: int
    tool_calls: int
    denials: int
    cost_nanousd: int
    last_seen_ms: int
    unasked: bool = False
    fuses: list[str] = []


class SessionRow(msgspec.Struct):
    """One session with its agents."""

    session: str
    user: str
    client: str
    workspace: str | None
    first_seen_ms: int
    last_seen_ms: int
    cost_nanousd: int
    agents: list[AgentRow]
    fuses: list[str] = []


class Sessions(msgspec.Struct):
    """Answer of `/sessions`."""

    sessions: list[SessionRow]


def show_limits(client: GatewayClient, account: str | None, *, as_json: bool) -> None:
    """Limits with what is spent and held on each."""
    answer = client.read("/limits", Limits, account=account)
    if as_json:
        print_json(answer)
        return
    none = "No limit is set." if account is None else f"No limit is set on {account}."
    print_rich(limit_table("Limits", answer.limits) if answer.limits else plain(none))


def show_fuses(client: GatewayClient, *, as_json: bool) -> None:
    """Fuses that warned, blew or were replaced."""
    answer = client.read("/fuses", Fuses)
    if as_json:
        print_json(answer)
        return
    rows = table("Fuses", "id", "scope", "holder", "meter", "state", ">value", ">limit", "since", "replaced")
    for row in answer.fuses:
        replaced = f"{row.replaced_by}: {row.replaced_reason}" if row.replaced_by else "-"
        texts = (row.id, row.scope, row.holder, row.meter, row.state, amount(row.meter, row.value))
        rest = (amount(row.meter, row.limit), moment(row.at_ms), replaced)
        rows.add_row(*(plain(text) for text in (*texts, *rest)))
    print_rich(rows if answer.fuses else "Every fuse is intact.")


def show_fuse(client: GatewayClient, fuse_id: str, *, as_json: bool) -> None:
    """One fuse with everything that is known of it."""
    fuse = client.read(f"/fuses/{path_part(fuse_id)}", FuseRow)
    if as_json:
        print_json(fuse)
        return
    counted, limit = (amount(fuse.meter, value) for value in (fuse.value - fuse.baseline, fuse.limit))
    lines = [
        f"{fuse.id}: {fuse.meter} of {fuse.scope} {fuse.holder} is {fuse.state} since {moment(fuse.at_ms)}",
        f"  counted   {counted} of {limit}; when it blows: {fuse.on_blow}",
    ]
    if fuse.replaced_by is not None:
        lines.append(f"  replaced  {fuse.replacements} times, last by {fuse.replaced_by}: {fuse.replaced_reason}")
    if fuse.wrapped_up:
        lines.append(f"  wrap-ups  {len(fuse.wrapped_up)} agents had their last request")
    if fuse.evidence is not None:
        lines += _told(fuse.evidence)
    print_rich(*(plain(line) for line in lines))


def _told(evidence: Evidence) -> list[str]:
    oldest, newest = evidence.messages
    where = f"messages {oldest} to {newest} from the end of the conversation"
    returned = [result or "-" for result in evidence.results]
    calls = zip(evidence.calls, returned, strict=False)
    pairs = [line for call, result in calls for line in (f"    call    {call}", f"    result  {result}")]
    return [f"  repeats   {evidence.times} times, in {where}", *pairs]


def replace_fuse(client: GatewayClient, fuse_id: str, reason: str, *, as_json: bool) -> None:
    """Put a new fuse in, in the name of the credential's user."""
    fuse = client.send(f"/fuses/{path_part(fuse_id)}/replace", {"reason": reason}, FuseRow)
    if as_json:
        print_json(fuse)
        return
    print_rich(plain(f"{fuse.id} ({fuse.scope} {fuse.holder}, {fuse.meter}) is {fuse.state} again"))


def show_sessions(client: GatewayClient, session: str | None, limit: int, *, as_json: bool) -> None:
    """Sessions as agent trees: all of them, the last used first, or one."""
    if session is not None:
        one = client.read(f"/sessions/{path_part(session)}", SessionRow)
        answer = Sessions([one])
    else:
        answer = client.read("/sessions", Sessions, limit=limit)
    if as_json:
        print_json(answer if session is None else answer.sessions[0])
        return
    parts: list[RenderableType] = [build_tree(row) for row in answer.sessions]
    print_rich(*(parts or ["No session has been seen."]))


def build_tree(session: SessionRow) -> Tree:
    """A session as a tree. Parents are the clients' claims: an agent whose parent is unknown hangs from the session."""
    denials = sum(agent.denials for agent in session.agents)
    calls = sum(agent.tool_calls for agent in session.agents)
    heading = (
        f"session {session.session}  {session.user}  {session.client}  {session.workspace or ''}".rstrip()
        + f"  {format_usd(session.cost_nanousd)}  {calls} calls, {denials} denied  {moment(session.last_seen_ms)}"
    )
    root = Tree(_with_fuses(plain(heading), session.fuses))
    known = {agent.agent for agent in session.agents}
    waiting = sorted(session.agents, key=lambda agent: agent.depth)
    branches: dict[str, Tree] = {}
    while waiting:
        ready = [agent for agent in waiting if agent.parent not in known or agent.parent in branches]
        for agent in ready or waiting[:1]:
            branches[agent.agent] = branches.get(agent.parent or "", root).add(_describe(agent))
            waiting.remove(agent)
    return root


def _describe(agent: AgentRow) -> Text:
    kind = f" ({agent.agent_type})" if agent.agent_type else ""
    line = (
        f"{agent.agent}{kind}  {agent.model or '-'}  {format_usd(agent.cost_nanousd)}  "
        f"{agent.requests} requests, {agent.tool_calls} calls, {agent.denials} denied"
        f"{'  no call asked for it' if agent.unasked else ''}"
    )
    return _with_fuses(plain(line), agent.fuses)


def _with_fuses(text: Text, fuses: list[str]) -> Text:
    if not fuses:
        return text
    return text.append_text(Text("  fuses: ", style="bold red")).append_text(plain(", ".join(fuses)))
