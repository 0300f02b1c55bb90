"""`ringfence policy explain`: why something was decided, from the audit trail. Asks no gateway and decides nothing.

When the configured policies are those that decided, each rule is asked again; where it looked at what the trail does
not hold, that is said instead of an answer.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import RenderableType

from gateway.commands.audit_files import audit_paths
from gateway.commands.output import CommandFailed, moment, plain, print_json, print_rich, table
from gateway.commands.policy_kit.decisions import Decisions
from gateway.commands.policy_kit.probe import Probe
from gateway.commands.policy_kit.sets import named_set
from gateway.config import Config
from gateway.core.decisions.recorded import DecisionRecord, Unreplayable, query_of
from gateway.decider import utc_time
from gateway.errors import GatewayError
from gateway.policy.policyset import PolicySet

NEIGHBOURS_NAMED = 10


class RuleWord(msgspec.Struct, frozen=True):
    """What one rule says of the query now."""

    rule: str
    mode: str
    says: tuple[str, ...] = ()
    obliges: tuple[Any, ...] = ()
    limits: tuple[Any, ...] = ()
    unsure: bool = False
    """It looked at what was not recorded."""


class Explained(msgspec.Struct, frozen=True):
    """One recorded decision and what can be told of it."""

    decision: DecisionRecord
    missing: tuple[str, ...]
    """What the trail does not hold."""
    again: str
    """Whether the policies could be asked again, and which."""
    rules: tuple[RuleWord, ...] = ()


def explain_decision(config: Config, wanted: str, audit: Sequence[Path], *, as_json: bool) -> None:
    """Every decision with this id: a call that starts an agent has two. Raises `CommandFailed` when there is none."""
    trail = Decisions(audit_paths(config, audit))
    found: list[DecisionRecord] = []
    neighbours: list[str] = []
    for record in trail:
        if record.id == wanted:
            found.append(record)
        elif record.request == wanted:
            neighbours.append(record.id)
    if not found:
        raise CommandFailed(_nothing(wanted, trail, neighbours))
    policies, problem = _named(config)
    explained = [_explain(record, policies, problem) for record in sorted(found, key=lambda each: each.at_ms)]
    if as_json:
        print_json({"decisions": explained, "of_the_same_request": sorted(neighbours)})
        return
    for one in explained:
        print_rich(*_pages(one), "")
    if neighbours:
        print_rich(plain(f"tool calls of the same request: {', '.join(sorted(neighbours)[:NEIGHBOURS_NAMED])}"))


def _nothing(wanted: str, trail: Decisions, neighbours: Sequence[str]) -> str:
    if neighbours:
        return f"no decision {wanted}; the request has {', '.join(sorted(neighbours)[:NEIGHBOURS_NAMED])}"
    begins = f"the trail begins {moment(trail.oldest_ms)}" if trail.oldest_ms is not None else "the trail is empty"
    return f"no decision {wanted}: {begins}; name older files, or those of other gateways, with --audit"


def _named(config: Config) -> tuple[PolicySet | None, str]:
    try:
        return named_set(config.policy), ""
    except GatewayError as error:
        return None, error.message


def _explain(record: DecisionRecord, policies: PolicySet | None, problem: str) -> Explained:
    """Only policies that made the decision are asked: they have served, so they have passed the load-time gate."""
    missing = _missing(record)
    if not record.revision:
        return Explained(record, missing, "no policy was asked: the gateway decided without")
    if policies is None:
        return Explained(record, missing, f"the policies cannot be asked again: {problem}")
    if policies.revision != record.revision:
        again = (
            f"the policies are now {policies.revision}, those that decided were {record.revision}; "
            "`ringfence policy replay` shows what would change"
        )
        return Explained(record, missing, again)
    try:
        return Explained(record, missing, "the same policies, asked again", _words(record, Probe(policies)))
    except (Unreplayable, RuntimeError) as error:
        return Explained(record, missing, f"the policies cannot be asked again: {error}")


def _words(record: DecisionRecord, probe: Probe) -> tuple[RuleWord, ...]:
    """Of each rule that can say something of such a query."""
    query = query_of(record, utc_time(record.at_ms))
    unsure = probe.ask(query, record.unrecorded).unsure
    settings = probe.policies.settings
    modes: dict[str, str] = {**settings["modes"]}
    words: list[RuleWord] = []
    for rule, held in probe.words(query).items():
        if record.kind not in probe.kinds[f"rules/{rule}/rule.rego"]:
            continue
        mode = modes.get(rule, "enforce")
        words.append(
            RuleWord(
                rule,
                "shadow" if settings["mode"] == "shadow" and mode != "off" else mode,
                tuple(sorted(held.get("violations", ()))),
                tuple(held.get("obligations", ())),
                tuple(held.get("limits", ())),
                rule in unsure,
            )
        )
    return tuple(words)


def _missing(record: DecisionRecord) -> tuple[str, ...]:
    missing = ["the prompt and the answer: no record holds them"]
    if record.action is None:
        missing.append("the query: the record was written before queries were kept")
    for path in record.unrecorded:
        hash = f" (SHA-256 {record.input_sha256}, {record.input_bytes} bytes)" if path == "action.input" else ""
        missing.append(f"{path}{hash}")
    if record.masked:
        missing.append(f"{record.masked} texts as they were: masked or cut")
    return tuple(missing)


def _pages(one: Explained) -> list[RenderableType]:
    record = one.decision
    who, where = record.principal, record.lineage
    verdict = "allowed" if record.allow else "denied"
    parts: list[RenderableType] = [
        plain(f"{record.id}: {record.kind} {verdict}, {moment(record.at_ms)}, by policies {record.revision or '-'}"),
        plain(f"who: user {who.user}, team {who.team or '-'}, groups {', '.join(who.groups) or '-'}"),
        plain(f"where: session {where.session}, agent {where.agent} ({where.agent_type or '-'}), depth {where.depth}"),
    ]
    parts += [plain(f"asked: {name} = {_shown(value)}") for name, value in (record.action or {}).items()]
    parts += [plain(f"meters of {scope}: {_shown(values)}") for scope, values in record.meters.items()]
    parts += [plain(f"refused by {reason.rule}: {reason.message}") for reason in record.reasons]
    parts += [plain(f"in shadow, {reason.rule}: {reason.message}") for reason in record.shadow]
    parts += [plain(f"obliged to: {_shown(each)}") for each in record.obligations]
    parts += [plain(f"limit: {_shown(each)}") for each in record.limits]
    parts += [plain(f"not in the trail: {each}") for each in one.missing]
    parts.append(plain(one.again))
    return [*parts, _rules(one.rules)] if one.rules else parts


def _rules(words: Sequence[RuleWord]) -> RenderableType:
    rows = table("Rules", "rule", "mode", "says")
    for word in words:
        said = [*word.says, *(f"obliges to {_shown(each)}" for each in word.obliges)]
        said += [f"limits {_shown(each)}" for each in word.limits]
        if word.unsure:
            said.append("looked at what the trail does not hold: this may not be all, or not so")
        rows.add_row(plain(word.rule), plain(word.mode), plain("; ".join(said) or "nothing"))
    return rows


def _shown(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
