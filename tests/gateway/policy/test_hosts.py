"""Hosts in every spelling that a client library understands."""

import pytest

from gateway.policy.hosts import SPELLINGS_MAX, hosts_of, is_url, remote_host
from gateway.policy.words import UNKNOWN

METADATA = "169.254.169.254"


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/x",
        "169.254.169.254",
        "http://2852039166/",
        "http://0xA9FEA9FE/",
        "http://0xa9.0xfe.0xa9.0xfe/",
        "http://0251.0376.0251.0376:80/",
        "http://169.254.43518/",
        "http://169.16689662/",
        "http://[::ffff:169.254.169.254]/",
        "http://[::ffff:a9fe:a9fe]:80/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[::ffff:169.254.169.254%25eth0]/",
        "http://good.example@169.254.169.254/",
        "http://good.example:x@169.254.169.254:80/",
        "http:\\\\169.254.169.254\\x",
        "http:///169.254.169.254/",
        "//169.254.169.254/",
        "HTTP://169.254.169.254./",
        "http://%31%36%39.254.169.254/",
        "http://\u2460\u2465\u2468.254.169.254/",
        "http://169\u3002254\u3002169\u3002254/",
        " http://169.254.1\n69.254/",
        "http://x.169.254.169.254.nip.io/",
        "http://169-254-169-254.sslip.io/",
        "http://{a,169.254.169.254}/",
    ],
)
def test_address_is_found_in_every_spelling(url: str) -> None:
    assert METADATA in hosts_of(url)


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("https://Example.COM:443/a?b=@c#d", ["example.com"]),
        ("https://example.com?x@evil.example", ["example.com"]),
        ("https://example.com\\@evil.example", ["example.com"]),
        ("localhost:3000/x", ["localhost"]),
        ("http://[::1]:80/", ["::1"]),
        ("http://127.1/", ["127.0.0.1"]),
        ("1.2.3.4.5", ["1.2.3.4.5"]),
        ("300.1.1.1", ["300.1.1.1"]),
        (f"http://{UNKNOWN}.example/", [UNKNOWN]),
        ("", []),
        ("http://", []),
    ],
)
def test_host_is_canonical(url: str, hosts: list[str]) -> None:
    assert hosts_of(url) == hosts


def test_spellings_are_bounded() -> None:
    assert len(hosts_of("http://" + "{a,b}" * 40 + "/")) <= SPELLINGS_MAX


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("git@h.example:a/b", "h.example"),
        ("h.example:/x", "h.example"),
        ("ssh://h.example/x", "h.example"),
        ("./a", None),
    ],
)
def test_remote_path_names_its_host(text: str, host: str | None) -> None:
    assert remote_host(text) == host


def test_only_whole_urls_count_as_urls() -> None:
    assert is_url("https://a") and is_url("git+ssh://a")
    assert not is_url("see https://a") and not is_url("file:///a")
