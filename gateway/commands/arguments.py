"""What the arguments of many commands have in common. Not what commands do."""

import argparse
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.commands.client import GatewayClient
from gateway.commands.environment import CREDENTIAL_VARIABLE

DEFAULT_URL = "http://127.0.0.1:8080"
URL_VARIABLE = "RINGFENCE_URL"

Command = Callable[[argparse.Namespace], int]

if TYPE_CHECKING:
    Group = argparse._SubParsersAction[argparse.ArgumentParser]  # pyright: ignore[reportPrivateUsage]


def add(group: "Group", name: str, summary: str, run: Command) -> argparse.ArgumentParser:
    """One command of a group."""
    parser = group.add_parser(name, help=summary, description=summary)
    parser.set_defaults(run=run)
    return parser


def connected(parser: argparse.ArgumentParser, *, within: bool = False) -> argparse.ArgumentParser:
    """It talks to a running gateway.

    `within` a command that takes the same two: what was given there holds unless it is given again.
    """
    url, as_json = (argparse.SUPPRESS, argparse.SUPPRESS) if within else (None, False)
    parser.add_argument("--url", default=url, help=f"of the gateway; default: ${URL_VARIABLE}, else {DEFAULT_URL}")
    parser.add_argument("--json", action="store_true", default=as_json, help="print JSON")
    return parser


def client_of(parsed: argparse.Namespace) -> GatewayClient:
    """The gateway that is named, with the credential of the environment."""
    return GatewayClient(url_of(parsed), os.environ.get(CREDENTIAL_VARIABLE))


def url_of(parsed: argparse.Namespace) -> str:
    """Of the gateway."""
    return parsed.url or os.environ.get(URL_VARIABLE) or DEFAULT_URL
