"""`ringfence policy replay`: what other policies would have decided of what was asked before. Changes nothing.

Exact where the record holds all that the rules looked at. What was not recorded (the input of a tool call) makes a
decision unsure only when a rule looked there; those are left out and counted. Decisions that no policy made, and such
as depend on what could be done (`engine/obligation`), are left out as well.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.console import RenderableType

from gateway.commands.audit_files import audit_paths
from gateway.commands.days import Days
from gateway.commands.output import EXIT_DONE, moment, plain, print_json, print_rich, table
from gateway.commands.policy_kit.changes import VERDICTS, Tally, Verdict, compare
from gateway.commands.policy_kit.decisions import Decisions
from gateway.commands.policy_kit.probe import Probe
from gateway.commands.policy_kit.sets import load_set
from gateway.config import Config
from gateway.core.decisions.recorded import DecisionRecord, Unreplayable, query_of
from gateway.decider import utc_time

EXIT_CHANGED = 3
NOT_BY_RULES = frozenset({"engine/obligation", "engine/depth"})
"""Reasons with which the gateway denies after the policies have spoken."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for."""

    folder: Path | None = None
    """Policies to try; None: the configured ones."""
    audit: tuple[Path, ...] = ()
    days: Days = Days()
    kinds: tuple[str, ...] = ()
    """Only these; none: all."""


def replay_decisions(config: Config, asked: Asked, *, as_json: bool) -> int:
    """Print what would change; the exit code says whether anything would.

    Raises `GatewayError` for policies that would not be served, `CommandFailed` for a trail that cannot be read.
    """
    trail = Decisions(audit_paths(config, asked.audit))
    return show_replay(Probe(load_set(config.policy, asked.folder)), trail, asked, as_json=as_json)


def show_replay(probe: Probe, trail: Decisions, asked: Asked, *, as_json: bool) -> int:
    """As `replay_decisions`, of a trail and policies at hand."""
    tally = replay(probe, _chosen(trail, asked))
    if as_json:
        print_json(_document(probe, trail, tally))
    else:
        print_rich(*_pages(probe, trail, tally))
    return EXIT_CHANGED if tally.changes else EXIT_DONE


def replay(probe: Probe, records: Iterable[DecisionRecord]) -> Tally:
    """Ask the policies about each record."""
    tally = Tally()
    for record in records:
        _replay_one(probe, record, tally)
    return tally


def _chosen(trail: Decisions, asked: Asked) -> Iterable[DecisionRecord]:
    return (each for each in trail if each.at_ms in asked.days and (not asked.kinds or each.kind in asked.kinds))


def _replay_one(probe: Probe, record: DecisionRecord, tally: Tally) -> None:
    if not record.revision or any(reason.rule in NOT_BY_RULES for reason in record.reasons):
        tally.left_out["no rule decided (but a fuse, a person, or what cannot be done)"] += 1
        return
    try:
        query = query_of(record, utc_time(record.at_ms))
    except Unreplayable as why:
        tally.left_out[str(why)] += 1
        return
    answer = probe.ask(query, record.unrecorded)
    if answer.unsure:
        tally.left_out["a rule looks at what was not recorded"] += 1
        tally.unsure_rules.update(answer.unsure)
        return
    change = compare(record, answer.decision)
    if change is not None and not change.rules:
        change = msgspec.structs.replace(change, rules=probe.obliging(query))
    tally.add(record, answer.decision, change)


def _document(probe: Probe, trail: Decisions, tally: Tally) -> dict[str, Any]:
    return {
        "revision": probe.revision,
        "replayed": tally.replayed,
        "by_kind": dict(tally.by_kind),
        "changes": {verdict: tally.verdicts[verdict] for verdict in VERDICTS},
        "by_rule": {rule: dict(counts) for rule, counts in sorted(tally.by_rule.items())},
        "by_user": {user: dict(counts) for user, counts in sorted(tally.by_user.items())},
        "examples": tally.examples,
        "left_out": dict(tally.left_out),
        "left_out_rules": dict(tally.unsure_rules),
        "masked": {"replayed": tally.masked, "changes": tally.masked_changes},
        "same_revision_changes": tally.same_revision_changes,
        "trail": {
            "oldest_ms": trail.oldest_ms,
            "unreadable_lines": trail.unreadable,
            "unreadable_first": trail.places,
        },
    }


def _pages(probe: Probe, trail: Decisions, tally: Tally) -> list[RenderableType]:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(tally.by_kind.items()))
    begins = f"; the trail begins {moment(trail.oldest_ms)}" if trail.oldest_ms is not None else ""
    parts: list[RenderableType] = [
        plain(f"replayed {tally.replayed} decisions ({kinds or 'none'}) against policies {probe.revision}{begins}"),
        plain(", ".join(f"{verdict}: {tally.verdicts[verdict]}" for verdict in VERDICTS)),
    ]
    if tally.changes:
        parts += ["", _counts("By rule", "rule", tally.by_rule), "", _counts("By user", "user", tally.by_user)]
        for verdict in VERDICTS:
            parts += _examples(verdict, tally)
    return [*parts, *(plain(f"note: {note}") for note in _notes(trail, tally))]


def _counts(title: str, column: str, counted: Mapping[str, Counter[Verdict]]) -> RenderableType:
    rows = table(title, column, *(f">{verdict}" for verdict in VERDICTS))
    for name, counts in sorted(counted.items(), key=lambda each: (-each[1].total(), each[0])):
        rows.add_row(plain(name), *(str(counts[verdict]) for verdict in VERDICTS))
    return rows


def _examples(verdict: Verdict, tally: Tally) -> Sequence[RenderableType]:
    found = tally.examples.get(verdict, [])
    if not found:
        return ()
    rows = table(f"Examples that {verdict}", "decision", "when", "user", "kind", "about", "what changes", "message")
    for one in found:
        details = "; ".join(one.details) + (" (masked)" if one.masked else "")
        texts = (one.id, moment(one.at_ms), one.user, one.kind, one.about, details, one.message)
        rows.add_row(*map(plain, texts))
    return ("", rows)


def _notes(trail: Decisions, tally: Tally) -> list[str]:
    notes = [f"{count} decision(s) left out: {why}" for why, count in sorted(tally.left_out.items())]
    if tally.unsure_rules:
        rules = ", ".join(f"{rule} ({count})" for rule, count in sorted(tally.unsure_rules.items()))
        notes.append(f"rules that looked at what was not recorded: {rules}; the obligation log_full records it")
    if tally.masked:
        notes.append(
            f"{tally.masked} of the replayed decisions, {tally.masked_changes} of the changes, hold texts that were"
            " masked or cut: a rule that looks for those words may say something else"
        )
    if tally.same_revision_changes:
        notes.append(
            f"{tally.same_revision_changes} of the changes are of decisions that these very policies made: their"
            " records lack what decided"
        )
    if trail.unreadable:
        notes.append(f"{trail.unreadable} lines are no records and were left out: {', '.join(trail.places)}")
    if tally.changes:
        notes.append("each decision is replayed by itself: what a session did after one that changes is not known")
    return notes
