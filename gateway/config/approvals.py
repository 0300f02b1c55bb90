"""What the approvals section may say: how long a question waits, whether four eyes are wanted, who is told of it."""

from gateway.config.model import Approvals
from gateway.config.values import Table
from gateway.config.webhook import read_webhook

EXPIRES_SECONDS_MAX = 86_400


def read_approvals(table: Table | None) -> Approvals:
    """`{expires_seconds, four_eyes, webhook: {url, secret}}`."""
    if table is None:
        return Approvals()
    default = Approvals()
    approvals = Approvals(
        expires_seconds=table.integer("expires_seconds", default.expires_seconds, low=1, high=EXPIRES_SECONDS_MAX),
        four_eyes=table.flag("four_eyes", default.four_eyes),
        webhook=read_webhook(table.table("webhook")),
    )
    table.done()
    return approvals
