"""What commands that talk to a gateway have in common: where it is, and with which credential."""

import argparse

import pytest

from gateway.commands.arguments import DEFAULT_URL, add, client_of, connected, url_of


def parser() -> argparse.ArgumentParser:
    """`things [show ID]`, both with the common arguments."""
    top = argparse.ArgumentParser()
    things = connected(add(top.add_subparsers(), "things", "show things", lambda _: 0))
    connected(add(things.add_subparsers(), "show", "show one", lambda _: 7), within=True).add_argument("id")
    return top


@pytest.mark.parametrize(
    ("variable", "arguments", "url"),
    [
        (None, [], DEFAULT_URL),
        ("http://variable", [], "http://variable"),
        ("http://variable", ["--url", "http://option"], "http://option"),
        ("", [], DEFAULT_URL),
    ],
)
def test_option_is_taken_before_the_variable_and_that_before_the_default(
    variable: str | None, arguments: list[str], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RINGFENCE_URL", raising=False)
    if variable is not None:
        monkeypatch.setenv("RINGFENCE_URL", variable)
    assert url_of(parser().parse_args(["things", *arguments])) == url


@pytest.mark.parametrize(
    "arguments",
    [
        ["things", "--url", "http://x", "--json", "show", "a"],
        ["things", "show", "a", "--url", "http://x", "--json"],
        ["things", "--url", "http://other", "show", "a", "--url", "http://x", "--json"],
    ],
)
def test_option_of_the_outer_command_holds_unless_the_inner_one_has_it(arguments: list[str]) -> None:
    parsed = parser().parse_args(arguments)
    assert (url_of(parsed), parsed.json, parsed.id, parsed.run(parsed)) == ("http://x", True, "a", 7)


def test_inner_command_without_options_prints_for_people() -> None:
    parsed = parser().parse_args(["things", "show", "a"])
    assert parsed.json is False and parsed.url is None


@pytest.mark.parametrize("credential", ["rf_secret", None])
def test_client_has_the_credential_of_the_environment(credential: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RINGFENCE_CREDENTIAL", raising=False)
    if credential is not None:
        monkeypatch.setenv("RINGFENCE_CREDENTIAL", credential)
    client = client_of(parser().parse_args(["things", "--url", "http://x"]))
    assert (client.url, client.credential) == ("http://x", credential)
    assert "rf_secret" not in repr(client)
