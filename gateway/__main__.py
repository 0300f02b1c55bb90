"""The `ringfence` command: arguments and exit codes. What a command does is in `commands/`; the server is `app.py`."""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.commands.agent_arguments import add_agent_commands
from gateway.commands.arguments import add, client_of, connected, url_of
from gateway.commands.demo.pace import DEFAULT_PACE, PACES
from gateway.commands.environment import CREDENTIAL_VARIABLE, MODES, SHELLS, Wanted, print_environment
from gateway.commands.explain import QUESTIONS, REPEATED, explain_limits
from gateway.commands.live import show_limits
from gateway.commands.managed_settings import print_managed_settings
from gateway.commands.output import (
    EXIT_CODES,
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_USAGE,
    CommandFailed,
    tolerate_narrow_encodings,
)
from gateway.commands.policy_kit.arguments import add_policy_kit
from gateway.commands.run_arguments import add_run_commands
from gateway.commands.upstreams import show_upstreams
from gateway.config import ConfigInvalid, Policy, load_config
from gateway.errors import GatewayError

DEFAULT_CONFIG = "ringfence.yaml"
SPEND_KEYS = "team,user,model,agent-type"
SPEND_FORMATS = ("table", "csv", "json", "focus")

if TYPE_CHECKING:
    from gateway.commands.arguments import Group


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. What is wrong is one message on stderr, never a traceback unless it is a bug."""
    tolerate_narrow_encodings()
    parsed = build_parser().parse_args(arguments)
    try:
        exit_code = parsed.run(parsed)
        sys.stdout.flush()
        return exit_code
    except CommandFailed as failure:
        return _fail(failure.message, failure.exit_code)
    except ConfigInvalid as invalid:
        lines = "\n".join(f"  {problem}" for problem in invalid.problems)
        return _fail(f"the configuration has {len(invalid.problems)} problem(s):\n{lines}", EXIT_FAILED)
    except GatewayError as error:
        return _fail(error.message, EXIT_FAILED)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED


def build_parser() -> argparse.ArgumentParser:
    """All commands and their arguments."""
    parser = argparse.ArgumentParser(
        prog="ringfence",
        description="Ring-fence what coding agents may do, and what they may spend.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_serving(commands)
    _add_demo(commands)
    _add_environment(commands)
    _add_credentials(commands)
    _add_live(commands)
    add_agent_commands(commands)
    add_run_commands(commands)
    _add_reports(commands)
    return parser


def _fail(message: str, exit_code: int) -> int:
    print(f"ringfence: {message}", file=sys.stderr)
    return exit_code


def _configured(parser: argparse.ArgumentParser, *, as_json: bool = True) -> None:
    parser.add_argument("--config", type=Path, default=Path(DEFAULT_CONFIG), help=f"default: {DEFAULT_CONFIG}")
    if as_json:
        parser.add_argument("--json", action="store_true", help="print JSON")


def _add_serving(commands: "Group") -> None:
    _configured(add(commands, "serve", "serve until stopped", _serve), as_json=False)
    _configured(add(commands, "check", "check the configuration and the policies", _check))
    policy = commands.add_parser("policy", help="work on policies").add_subparsers(required=True, metavar="COMMAND")
    test = add(policy, "test", "run the tests and examples of every rule", _test_policies)
    _configured(test)
    test.add_argument(
        "--path", type=Path, default=None, help="folder of policies; default: what the configuration names"
    )
    add_policy_kit(policy, _configured)


def _add_demo(commands: "Group") -> None:
    demo = add(
        commands, "demo", "play five scenes against a gateway on the simulated backend; needs no key", _play_demo
    )
    demo.add_argument(
        "--claude", action="store_true", help="with the real Claude Code client, which scripts/demo fetches"
    )
    demo.add_argument("--pace", choices=PACES, default=DEFAULT_PACE, help=f"default: {DEFAULT_PACE}")
    demo.add_argument("--json", action="store_true", help="print JSON on stdout, and the scenes on stderr")


def _add_environment(commands: "Group") -> None:
    parser = add(commands, "env", "print what a developer exports to use the gateway", _print_environment)
    connected(parser)
    parser.add_argument("--shell", choices=SHELLS, default=SHELLS[0])
    parser.add_argument("--mode", choices=MODES, default=None, help="only this one; default: all, others as comments")
    parser.add_argument(
        "--credential", default=None, help=f"text to export; default: a reference to ${CREDENTIAL_VARIABLE}"
    )
    summary = "print what to deploy as Claude Code's managed settings instead: its hooks come to the gateway"
    parser.add_argument("--managed-settings", action="store_true", help=summary)
    parser.add_argument("--disable-workflows", action="store_true", help="with --managed-settings: no Workflow tool")


def _add_credentials(commands: "Group") -> None:
    summary = "create, list and revoke credentials"
    group = commands.add_parser("credentials", help=summary).add_subparsers(required=True, metavar="COMMAND")
    create = add(group, "create", "create a credential; its secret is shown once", _create_credential)
    _configured(create)
    create.add_argument("id")
    create.add_argument("--user", required=True)
    create.add_argument("--team", default=None, help="default: the user's team")
    create.add_argument("--operator", action="store_true", help="may ask for limits and sessions, and replace fuses")
    _configured(add(group, "list", "list credentials", _list_credentials))
    revoke = add(group, "revoke", "revoke a credential", _revoke_credential)
    _configured(revoke)
    revoke.add_argument("id")


def _add_live(commands: "Group") -> None:
    limits = add(commands, "limits", "show limits, and what is spent and held on them", _show_limits)
    connected(limits)
    limits.add_argument("--account", default=None, help="only this one, such as user:alice")
    summary = "explain which limits and fuses somebody's next request meets, and which bites first"
    within = limits.add_subparsers(metavar="COMMAND")
    explain = add(within, "explain", summary, _explain_limits)
    connected(explain, within=True)
    for name, meaning in QUESTIONS.items():
        action = "append" if name in REPEATED else "store"
        explain.add_argument(f"--{name}", dest=f"asked_{name}", metavar=name.upper(), action=action, help=meaning)
    connected(add(commands, "upstreams", "show how the upstreams fare", _show_upstreams))


def _add_reports(commands: "Group") -> None:
    group = commands.add_parser("report", help="report from the audit trail").add_subparsers(
        required=True, metavar="COMMAND"
    )
    spend = add(group, "spend", "who spent what, added up from the audit trail", _report_spend)
    _configured(spend, as_json=False)
    spend.add_argument("--by", default=SPEND_KEYS, metavar="KEY,...", help=f"keys to add up by; default: {SPEND_KEYS}")
    spend.add_argument("--from", dest="since", default=None, metavar="DATE", help="first day, in UTC")
    spend.add_argument("--to", dest="until", default=None, metavar="DATE", help="last day, in UTC")
    spend.add_argument("--format", choices=SPEND_FORMATS, default="table", help="focus: CSV with FOCUS 1.2 columns")
    spend.add_argument("--json", dest="format", action="store_const", const="json", help="print JSON")
    trail = "file of the trail; default: audit.path; of several gateways on one database, one each"
    spend.add_argument("--audit", type=Path, action="append", default=[], metavar="FILE", help=trail)


def _serve(parsed: argparse.Namespace) -> int:
    from gateway.app import serve  # imported only here: the server is most of the start-up time of every other command
    from gateway.commands.named_files import file_problems

    config = load_config(parsed.config, os.environ)
    problems = file_problems(config)
    if problems:
        raise ConfigInvalid(problems)
    for warning in config.warnings:
        print(f"ringfence: warning: {warning}", file=sys.stderr)
    return serve(config, parsed.config, partial(load_config, parsed.config, os.environ))


def _play_demo(parsed: argparse.Namespace) -> int:
    from gateway.commands.demo.play import Options, run_demo  # imported only here: the SDK takes most of a second

    return run_demo(Options(pace=parsed.pace, claude=parsed.claude, as_json=parsed.json), os.environ)


def _check(parsed: argparse.Namespace) -> int:
    from gateway.commands.checking import check

    return check(parsed.config, os.environ, as_json=parsed.json)


def _test_policies(parsed: argparse.Namespace) -> int:
    from gateway.commands.policies import run_tests

    policy = Policy() if parsed.path is not None else load_config(parsed.config, os.environ).policy
    return run_tests(parsed.path or policy.folder, policy.overrides, as_json=parsed.json)


def _print_environment(parsed: argparse.Namespace) -> int:
    if parsed.managed_settings:
        if parsed.credential is not None:
            raise CommandFailed("managed settings hold no credential: leave --credential out", EXIT_USAGE)
        print_managed_settings(url_of(parsed), mode=parsed.mode, disable_workflows=parsed.disable_workflows)
        return EXIT_DONE
    if parsed.disable_workflows:
        raise CommandFailed("--disable-workflows goes with --managed-settings", EXIT_USAGE)
    wanted = Wanted(url=url_of(parsed), shell=parsed.shell, mode=parsed.mode, credential=parsed.credential)
    print_environment(wanted, as_json=parsed.json)
    return EXIT_DONE


def _create_credential(parsed: argparse.Namespace) -> int:
    from gateway.commands.credentials import NewCredential, create_credential

    wanted = NewCredential(id=parsed.id, user=parsed.user, team=parsed.team, operator=parsed.operator)
    create_credential(load_config(parsed.config, os.environ), wanted, as_json=parsed.json)
    return EXIT_DONE


def _list_credentials(parsed: argparse.Namespace) -> int:
    from gateway.commands.credentials import list_credentials

    list_credentials(load_config(parsed.config, os.environ), as_json=parsed.json)
    return EXIT_DONE


def _revoke_credential(parsed: argparse.Namespace) -> int:
    from gateway.commands.credentials import revoke_credential

    revoke_credential(load_config(parsed.config, os.environ), parsed.id, as_json=parsed.json)
    return EXIT_DONE


def _show_limits(parsed: argparse.Namespace) -> int:
    show_limits(client_of(parsed), parsed.account, as_json=parsed.json)
    return EXIT_DONE


def _explain_limits(parsed: argparse.Namespace) -> int:
    if parsed.account is not None:
        options = ", ".join(f"--{name}" for name in QUESTIONS)
        raise CommandFailed(f"limits explain is about a request, not about an --account: use {options}", EXIT_USAGE)
    asked = {name: getattr(parsed, f"asked_{name}") for name in QUESTIONS}
    explain_limits(client_of(parsed), asked, as_json=parsed.json)
    return EXIT_DONE


def _show_upstreams(parsed: argparse.Namespace) -> int:
    show_upstreams(client_of(parsed), as_json=parsed.json)
    return EXIT_DONE


def _report_spend(parsed: argparse.Namespace) -> int:
    from gateway.commands.named_files import file_problems
    from gateway.commands.report import parse_wanted, report_spend

    wanted = parse_wanted(parsed.by, (parsed.since, parsed.until), parsed.format, audit=parsed.audit)
    config = load_config(parsed.config, os.environ)
    problems = file_problems(config)
    if problems:
        raise ConfigInvalid(problems)
    report_spend(config, wanted)
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
