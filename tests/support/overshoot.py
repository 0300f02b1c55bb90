"""How far limits that are not strict can be passed, for tests to hold the ledger to."""

from collections.abc import Iterable

from gateway.core.money.limits import Amounts


def overshoot_max(holds: Iterable[tuple[Amounts, Amounts]]) -> Amounts:
    """By requests that run at once: (worst, expected) each.

    The last of them was let in when what was spent and what all expected stayed within the limit, and nothing is let in
    once it is passed. So it ends at most what each used beyond its expected amounts above it, and none uses more than
    its worst case. Each step by which a hold is extended while it streams is checked as a new request is, and takes
    that much off this sum.
    """
    total = Amounts(requests=0, active_requests=0)
    for most, expected in holds:
        total = total.plus(Amounts(*(max(0, beyond) for beyond in most.minus(expected))))
    return total
