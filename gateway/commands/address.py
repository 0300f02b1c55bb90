"""Where a gateway is: the one check of what people write as its URL. Does not connect."""

from urllib.parse import urlsplit

from gateway.commands.output import EXIT_USAGE, CommandFailed


def gateway_url(text: str) -> str:
    """`text` without a trailing slash. Raises CommandFailed when it is no http(s) URL with a host."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or not text.isprintable() or " " in text:
        raise CommandFailed(f"{text!r} is not a URL of a gateway: write http://host:port", EXIT_USAGE)
    return text.rstrip("/")
