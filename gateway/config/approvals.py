"""What the approvals section may say: how long a question waits, whether four eyes are wanted, who is told of it."""

from urllib.parse import urlsplit

from gateway.config.model import Approvals, ApprovalWebhook
from gateway.config.values import Table, is_loopback

EXPIRES_SECONDS_MAX = 86_400
WEBHOOK_SECRET_CHARS_MIN = 16


def read_approvals(table: Table | None) -> Approvals:
    """`{expires_seconds, four_eyes, webhook: {url, secret}}`."""
    if table is None:
        return Approvals()
    default = Approvals()
    approvals = Approvals(
        expires_seconds=table.integer("expires_seconds", default.expires_seconds, low=1, high=EXPIRES_SECONDS_MAX),
        four_eyes=table.flag("four_eyes", default.four_eyes),
        webhook=_read_webhook(table.table("webhook")),
    )
    table.done()
    return approvals


def _read_webhook(table: Table | None) -> ApprovalWebhook | None:
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
    return None if url is None or secret is None else ApprovalWebhook(url, secret)


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
        message = f"{place.name} is not encrypted: whoever is between reads who asked for what"
        place.warning(message, "use https")
    return url
