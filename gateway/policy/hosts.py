"""Finds the host that a URL or an argument names, whatever its spelling. No name is resolved.

Reach: a public name that resolves to a private address is not seen; `nip.io`-like names that carry an address are.
"""

import ipaddress
import re
import unicodedata
from urllib.parse import unquote

from gateway.policy.words import UNKNOWN

HOST_CHARS_MAX = 253
SPELLINGS_MAX = 16

_SCHEME = re.compile(r"^(?:[a-z][a-z0-9+.\-]*:)?[/\\]{2,}", re.IGNORECASE)
_URL = re.compile(
    r"(?:git\+)?(?:https?|ftps?|sftp|ssh|git|wss?|tcp|ldaps?|gopher|s3|telnet|dict|tftp|scp|rsync)://", re.I
)
_SCP = re.compile(r"(?:[\w.\-]+@)?([A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)*|\[[0-9A-Fa-f:.]+\]):(?!//)")
_WILDCARD_DNS = re.compile(r"(?:^|[.\-])(\d{1,3})[.\-](\d{1,3})[.\-](\d{1,3})[.\-](\d{1,3})\.(?:nip|sslip|xip)\.io$")
_CURL_GLOB = re.compile(r"\{([^{}]*)\}")
_EMBEDDED_V4 = (
    ipaddress.ip_network("::ffff:0:0/96"),
    ipaddress.ip_network("64:ff9b::/96"),
    ipaddress.ip_network("::/96"),
)


def is_url(text: str) -> bool:
    """Whether a word is wholly a URL with a scheme that reaches a network."""
    return _URL.match(text) is not None


def hosts_of(text: str) -> list[str]:
    """Hosts of a URL, or of an argument that a network program takes as one: canonical, in lower case."""
    spellings = [text]
    while len(spellings) < SPELLINGS_MAX and any(_CURL_GLOB.search(one) for one in spellings):
        spellings = [found for one in spellings for found in _alternatives(one)]
    hosts: list[str] = []
    for one in spellings[:SPELLINGS_MAX]:
        host = canonical(_authority(one))
        if host:
            hosts.append(host)
            hosts.extend(_carried(host))
    return hosts


def remote_host(text: str) -> str | None:
    """The host of an scp-like argument, `user@host:path`; None when it is a local path."""
    if "://" in text:
        return next(iter(hosts_of(text)), None)
    match = _SCP.match(text)
    return canonical(match[1].strip("[]")) if match else None


def _alternatives(text: str) -> list[str]:
    match = _CURL_GLOB.search(text)
    if match is None:
        return [text]
    return [text[: match.start()] + part + text[match.end() :] for part in match[1].split(",")]


def _authority(text: str) -> str:
    text = re.sub(r"[\t\r\n]", "", text.strip())
    text = _SCHEME.sub("", text)
    text = re.split(r"[/\\?#]", text, maxsplit=1)[0].rpartition("@")[2]
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text if text.count(":") > 1 else text.partition(":")[0]


def canonical(host: str) -> str:
    """A host as rules compare it: lower case, no trailing dot, addresses in their usual form."""
    host = unicodedata.normalize("NFKC", unquote(host)).replace("\u3002", ".").lower().rstrip(".")[:HOST_CHARS_MAX]
    if not host or UNKNOWN in host:
        return UNKNOWN if host else ""
    address = _address(host.partition("%")[0])
    return host if address is None else address


def _address(host: str) -> str | None:
    if ":" in host:
        try:
            v6 = ipaddress.IPv6Address(host)
        except ValueError:
            return None
        if any(v6 in network for network in _EMBEDDED_V4) and int(v6) & 0xFFFFFFFF > 0xFF:
            return str(ipaddress.IPv4Address(int(v6) & 0xFFFFFFFF))
        return str(v6)
    return _loose_v4(host)


def _loose_v4(host: str) -> str | None:
    """The C library's spellings: `2852039166`, `0xa9.254.0251.254`, `127.1`."""
    parts = host.split(".")
    if len(parts) > 4:
        return None
    numbers: list[int] = []
    for part in parts:
        if not re.fullmatch(r"0x[0-9a-f]{1,16}|[0-9]{1,16}", part):
            return None
        base = 16 if part.startswith("0x") else 8 if part.startswith("0") and part.isdigit() and len(part) > 1 else 10
        try:
            numbers.append(int(part, base))
        except ValueError:
            numbers.append(int(part))
    *leading, last = numbers
    if any(number > 255 for number in leading) or last >= 256 ** (4 - len(leading)):
        return None
    value = last
    for index, number in enumerate(leading):
        value |= number << (24 - 8 * index)
    return str(ipaddress.IPv4Address(value))


def _carried(host: str) -> list[str]:
    match = _WILDCARD_DNS.search(host)
    address = _address(".".join(match.groups())) if match else None
    return [address] if address else []
