"""The `ringfence` command: arguments and exit codes. What a command does is in `commands/`; the server is `app.py`."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.commands.client import GatewayClient
from gateway.commands.demo.pace import DEFAULT_PACE, PACES
from gateway.commands.environment import CREDENTIAL_VARIABLE, MODES, SHELLS, Wanted, print_environment
from gateway.commands.explain import QUESTIONS, REPEATED, explain_limits
from gateway.commands.live import replace_fuse, show_fuses, show_limits, show_sessions
from gateway.commands.output import EXIT_CODES, EXIT_DONE, EXIT_FAILED, EXIT_USAGE, CommandFailed
from gateway.commands.upstreams import show_upstreams
from gateway.config import ConfigInvalid, Policy, load_config
from gateway.errors import GatewayError

DEFAULT_CONFIG = "ringfence.yaml"
DEFAULT_URL = "http://127.0.0.1:8080"
URL_VARIABLE = "RINGFENCE_URL"
SESSIONS_SHOWN = 20
SPEND_KEYS = "team,user,model,agent-type"
SPEND_FORMATS = ("table", "csv", "json", "focus")

Command = Callable[[argparse.Namespace], int]

if TYPE_CHECKING:
    _Group = argparse._SubParsersAction[argparse.ArgumentParser]  # pyright: ignore[reportPrivateUsage]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. What is wrong is one message on stderr, never a traceback unless it is a bug."""
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
    _add_reports(commands)
    return parser


def _fail(message: str, exit_code: int) -> int:
    print(f"ringfence: {message}", file=sys.stderr)
    return exit_code


def _add(group: "_Group", name: str, summary: str, run: Command) -> argparse.ArgumentParser:
    parser = group.add_parser(name, help=summary, description=summary)
    parser.set_defaults(run=run)
    return parser


def _configured(parser: argparse.ArgumentParser, *, as_json: bool = True) -> None:
    parser.add_argument("--config", type=Path, default=Path(DEFAULT_CONFIG), help=f"default: {DEFAULT_CONFIG}")
    if as_json:
        parser.add_argument("--json", action="store_true", help="print JSON")


def _connected(parser: argparse.ArgumentParser, *, within: bool = False) -> None:
    """`within` a command that takes the same two: what was given there holds unless it is given again."""
    url, as_json = (argparse.SUPPRESS, argparse.SUPPRESS) if within else (None, False)
    parser.add_argument("--url", default=url, help=f"of the gateway; default: ${URL_VARIABLE}, else {DEFAULT_URL}")
    parser.add_argument("--json", action="store_true", default=as_json, help="print JSON")


def _add_serving(commands: "_Group") -> None:
    _configured(_add(commands, "serve", "serve until stopped", _serve), as_json=False)
    _configured(_add(commands, "check", "check the configuration and the policies", _check))
    policy = commands.add_parser("policy", help="work on policies").add_subparsers(required=True, metavar="COMMAND")
    test = _add(policy, "test", "run the tests and examples of every rule", _test_policies)
    _configured(test)
    test.add_argument(
        "--path", type=Path, default=None, help="folder of policies; default: what the configuration names"
    )


def _add_demo(commands: "_Group") -> None:
    demo = _add(
        commands, "demo", "play four scenes against a gateway on the simulated backend; needs no key", _play_demo
    )
    demo.add_argument(
        "--claude", action="store_true", help="with the real Claude Code client, which scripts/demo fetches"
    )
    demo.add_argument("--pace", choices=PACES, default=DEFAULT_PACE, help=f"default: {DEFAULT_PACE}")
    demo.add_argument("--json", action="store_true", help="print JSON on stdout, and the scenes on stderr")


def _add_environment(commands: "_Group") -> None:
    parser = _add(commands, "env", "print what a developer exports to use the gateway", _print_environment)
    _connected(parser)
    parser.add_argument("--shell", choices=SHELLS, default=SHELLS[0])
    parser.add_argument("--mode", choices=MODES, default=None, help="only this one; default: all, others as comments")
    parser.add_argument(
        "--credential", default=None, help=f"text to export; default: a reference to ${CREDENTIAL_VARIABLE}"
    )


def _add_credentials(commands: "_Group") -> None:
    summary = "create, list and revoke credentials"
    group = commands.add_parser("credentials", help=summary).add_subparsers(required=True, metavar="COMMAND")
    create = _add(group, "create", "create a credential; its secret is shown once", _create_credential)
    _configured(create)
    create.add_argument("id")
    create.add_argument("--user", required=True)
    create.add_argument("--team", default=None, help="default: the user's team")
    create.add_argument("--operator", action="store_true", help="may ask for limits and sessions, and replace fuses")
    _configured(_add(group, "list", "list credentials", _list_credentials))
    revoke = _add(group, "revoke", "revoke a credential", _revoke_credential)
    _configured(revoke)
    revoke.add_argument("id")


def _add_live(commands: "_Group") -> None:
    limits = _add(commands, "limits", "show limits, and what is spent and held on them", _show_limits)
    _connected(limits)
    limits.add_argument("--account", default=None, help="only this one, such as user:alice")
    summary = "explain which limits and fuses somebody's next request meets, and which bites first"
    within = limits.add_subparsers(metavar="COMMAND")
    explain = _add(within, "explain", summary, _explain_limits)
    _connected(explain, within=True)
    for name, meaning in QUESTIONS.items():
        action = "append" if name in REPEATED else "store"
        explain.add_argument(f"--{name}", dest=f"asked_{name}", metavar=name.upper(), action=action, help=meaning)
    fuses = commands.add_parser("fuses", help="show and replace fuses").add_subparsers(required=True, metavar="COMMAND")
    _connected(_add(fuses, "list", "list fuses that warned, blew or were replaced", _show_fuses))
    replace = _add(fuses, "replace", "replace a blown fuse", _replace_fuse)
    _connected(replace)
    replace.add_argument("id")
    replace.add_argument("--reason", required=True, help="recorded with your name")
    sessions = _add(commands, "sessions", "show sessions as agent trees", _show_sessions)
    _connected(sessions)
    sessions.add_argument("session", nargs="?", default=None, help="only this one")
    sessions.add_argument("--limit", type=int, default=SESSIONS_SHOWN, help=f"how many; default: {SESSIONS_SHOWN}")
    _connected(_add(commands, "upstreams", "show how the upstreams fare", _show_upstreams))


def _add_reports(commands: "_Group") -> None:
    group = commands.add_parser("report", help="report from the audit trail").add_subparsers(
        required=True, metavar="COMMAND"
    )
    spend = _add(group, "spend", "who spent what, added up from the audit trail", _report_spend)
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
    return serve(config, parsed.config)


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
    wanted = Wanted(url=_url(parsed), shell=parsed.shell, mode=parsed.mode, credential=parsed.credential)
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
    show_limits(_client(parsed), parsed.account, as_json=parsed.json)
    return EXIT_DONE


def _explain_limits(parsed: argparse.Namespace) -> int:
    if parsed.account is not None:
        options = ", ".join(f"--{name}" for name in QUESTIONS)
        raise CommandFailed(f"limits explain is about a request, not about an --account: use {options}", EXIT_USAGE)
    asked = {name: getattr(parsed, f"asked_{name}") for name in QUESTIONS}
    explain_limits(_client(parsed), asked, as_json=parsed.json)
    return EXIT_DONE


def _show_fuses(parsed: argparse.Namespace) -> int:
    show_fuses(_client(parsed), as_json=parsed.json)
    return EXIT_DONE


def _replace_fuse(parsed: argparse.Namespace) -> int:
    replace_fuse(_client(parsed), parsed.id, parsed.reason, as_json=parsed.json)
    return EXIT_DONE


def _show_sessions(parsed: argparse.Namespace) -> int:
    show_sessions(_client(parsed), parsed.session, parsed.limit, as_json=parsed.json)
    return EXIT_DONE


def _show_upstreams(parsed: argparse.Namespace) -> int:
    show_upstreams(_client(parsed), as_json=parsed.json)
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


def _client(parsed: argparse.Namespace) -> GatewayClient:
    return GatewayClient(_url(parsed), os.environ.get(CREDENTIAL_VARIABLE))


def _url(parsed: argparse.Namespace) -> str:
    return parsed.url or os.environ.get(URL_VARIABLE) or DEFAULT_URL


if __name__ == "__main__":
    sys.exit(main())
