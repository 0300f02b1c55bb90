"""`ringfence sessions stop|hold|release|controls`: what a person stops on a running gateway. Decides nothing."""

import msgspec

from gateway.commands.client import GatewayClient
from gateway.commands.output import EXIT_USAGE, CommandFailed, moment, plain, print_json, print_rich, table
from gateway.core.oversight.controls import EVERYTHING, Action, ControlRecord, named


class Row(msgspec.Struct):
    """One control as the gateway shows it."""

    control: ControlRecord
    in_flight: int
    warnings: list[str] = []


class Rows(msgspec.Struct):
    """Answer of `/controls`."""

    controls: list[Row]


class Wanted(msgspec.Struct, frozen=True):
    """Whom a command names: exactly one, but that an agent is named with its session."""

    session: str | None = None
    agent: str | None = None
    run: str | None = None
    user: str | None = None
    team: str | None = None
    everything: bool = False


def target_of(wanted: Wanted) -> str:
    """The target that is named. Raises CommandFailed."""
    kinds = {"session": wanted.session, "run": wanted.run, "user": wanted.user, "team": wanted.team}
    named_ones = [f"{kind}:{id}" for kind, id in kinds.items() if id is not None]
    named_ones += [EVERYTHING] if wanted.everything else []
    if len(named_ones) != 1 or (wanted.agent is not None and wanted.session is None):
        message = "name one: a session (with --agent one of its agents), --run, --user, --team or --everything"
        raise CommandFailed(message, EXIT_USAGE)
    return named_ones[0] if wanted.agent is None else f"agent:{wanted.session}/{wanted.agent}"


def change_control(client: GatewayClient, action: Action, wanted: Wanted, reason: str, *, as_json: bool) -> None:
    """Stop, hold or release, in the name of the credential's user."""
    body = {"action": action, "target": target_of(wanted), "reason": reason}
    row = client.send("/controls", body, Row)
    if as_json:
        print_json(row)
        return
    control = row.control
    requests = "1 request" if row.in_flight == 1 else f"{row.in_flight} requests"
    print_rich(plain(f"{named(control.target)} is {control.state}; {requests} of it under way on this gateway"))
    for warning in row.warnings:
        print_rich(plain(f"warning: {warning}"))


def show_controls(client: GatewayClient, *, as_json: bool) -> None:
    """What is stopped or held."""
    answer = client.read("/controls", Rows)
    if as_json:
        print_json(answer)
        return
    rows = table("Controls", "target", "state", "by", "since", ">in flight", "reason")
    for row in answer.controls:
        control = row.control
        texts = (control.target, control.state, control.by, moment(control.at_ms), row.in_flight, control.reason)
        rows.add_row(*map(plain, texts))
    print_rich(rows if answer.controls else "Nothing is stopped or held.")
