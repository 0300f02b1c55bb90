"""Arguments of `ringfence policy new | explain | replay`. What they do is imported when one of them runs."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.commands.arguments import add
from gateway.commands.output import EXIT_DONE
from gateway.config import Policy, load_config
from gateway.policy.reads import KINDS

if TYPE_CHECKING:
    from gateway.commands.arguments import Group

_AUDIT = "file of the trail; default: audit.path; of several gateways, one each"
_REPLAY_ENDS = "exit codes: 0 every decision would be the same, 3 some would not"


def add_policy_kit(policy: "Group", configured: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the three commands; `configured` adds `--config` and `--json`."""
    new = add(policy, "new", "write a rule folder that passes `policy test` as it is", _create_rule)
    configured(new)
    new.add_argument("rule", metavar="CATEGORY/NAME")
    new.add_argument(
        "--path", type=Path, default=None, help="folder of policies; default: what the configuration names"
    )
    explain = add(policy, "explain", "say why something was decided, from the audit trail", _explain_decision)
    configured(explain)
    explain.add_argument("decision", metavar="DECISION_ID", help="dec_..., or dec_....1 of a tool call")
    explain.add_argument("--audit", type=Path, action="append", default=[], metavar="FILE", help=_AUDIT)
    summary = "decide again what the audit trail holds, and show what would change"
    replay = add(policy, "replay", summary, _replay_decisions)
    replay.epilog = _REPLAY_ENDS
    configured(replay)
    tried = "folder of policies to try, with the configured settings; default: what the configuration names"
    replay.add_argument("--path", type=Path, default=None, help=tried)
    replay.add_argument("--audit", type=Path, action="append", default=[], metavar="FILE", help=_AUDIT)
    replay.add_argument("--from", dest="since", default=None, metavar="DATE", help="first day, in UTC")
    replay.add_argument("--to", dest="until", default=None, metavar="DATE", help="last day, in UTC")
    replay.add_argument("--kind", action="append", choices=KINDS, default=[], help="only these; one more each time")


def _create_rule(parsed: argparse.Namespace) -> int:
    from gateway.commands.policy_kit.scaffold import create_rule

    policy = Policy() if parsed.path is not None else load_config(parsed.config, os.environ).policy
    create_rule(parsed.rule, parsed.path or policy.folder, as_json=parsed.json)
    return EXIT_DONE


def _explain_decision(parsed: argparse.Namespace) -> int:
    from gateway.commands.policy_kit.explain import explain_decision

    explain_decision(load_config(parsed.config, os.environ), parsed.decision, parsed.audit, as_json=parsed.json)
    return EXIT_DONE


def _replay_decisions(parsed: argparse.Namespace) -> int:
    from gateway.commands.days import parse_days
    from gateway.commands.policy_kit.replay import Asked, replay_decisions

    days = parse_days(parsed.since, parsed.until)
    asked = Asked(parsed.path, tuple(parsed.audit), days, tuple(parsed.kind))
    return replay_decisions(load_config(parsed.config, os.environ), asked, as_json=parsed.json)
