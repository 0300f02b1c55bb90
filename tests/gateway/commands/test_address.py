"""What counts as the URL of a gateway."""

import pytest

from gateway.commands.address import gateway_url
from gateway.commands.output import EXIT_USAGE, CommandFailed


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://gateway.example.com/gw/ci/", "https://gateway.example.com/gw/ci"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_url_loses_only_its_trailing_slash(text: str, url: str) -> None:
    assert gateway_url(text) == url


@pytest.mark.parametrize(
    "text", ["", "gateway:8080", "ftp://x", "http://", "http://[", "http://x:99999", "http://x\ny"]
)
def test_anything_else_is_wrong_usage(text: str) -> None:
    with pytest.raises(CommandFailed) as failed:
        gateway_url(text)
    assert failed.value.exit_code == EXIT_USAGE and "\n" not in failed.value.message
