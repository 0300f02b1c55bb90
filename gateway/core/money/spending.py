"""What an ended request used of every meter, from its reported usage. Not its price: `pricing.py`."""

from gateway.core.money.limits import Amounts
from gateway.core.wire.usage import Usage


def spent_amounts(usage: Usage, cost_nanousd: int) -> Amounts:
    """Tokens as they are billed: the passes of `iterations` when there are any, none of an empty refusal.

    Total tokens are those of prompt (read, written to the cache and read from it) and output.
    """
    passes = [each.tokens for each in usage.iterations] or [usage.tokens]
    if usage.refused_empty:
        passes = []
    return Amounts(
        cost=cost_nanousd,
        output_tokens=sum(tokens.output for tokens in passes),
        total_tokens=sum(tokens.total for tokens in passes),
        active_requests=0,
    )
