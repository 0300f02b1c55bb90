"""A webhook as several sections may name one: where events are sent, and what they are signed with."""

from urllib.parse import urlsplit

from gateway.config.model import WebhookConfig
from gateway.config.values import Table, is_loopback

WEBHOOK_SECRET_CHARS_MIN = 16


def read_webhook(table: Table | None) -> WebhookConfig | None:
    """`{url, secret}`."""
    if table is None:
        return None
    url = _read_url(table)
    secret = table.secret("secret")
    place = table.place_of("secret")
    if secret is None and table.find("secret") is None:
        place.problem(f"{table.entry.name} has no secret", 'add secret: "${NAME_OF_A_VARIABLE}": it signs each event')
    elif secret is not None and len(secret.reveal()) < WEBHOOK_SECRET_CHARS_MIN:
        place.problem(f"{place.name} is shorter than {WEBHOOK_SECRET_CHARS_MIN} characters", "make a long random one")
    table.done()
    return None if url is None or secret is None else WebhookConfig(url, secret)


def _read_url(table: Table) -> str | None:
    """A query is part of many services' addresses, a login belongs to none."""
    url = table.required("url")
    if not url:
        return None
    place = table.place_of("url")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable, parts = False, urlsplit("")
    if not usable or not url.isascii() or not url.isprintable() or any(mark in url for mark in " @#\\"):
        place.problem(f"{place.name} is not a usable URL", "https://host[:port][/path], without a login")  # not shown
        return None
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        message = f"{place.name} is not encrypted: whoever is between reads what people are told"
        place.warning(message, "use https")
    return url
