"""Limits of operators beside those of the configuration."""

from gateway.core.money.limits import LimitRow, Limits
from gateway.core.money.stored_limits import StoredLimit, together


def stored(id: str, *rows: LimitRow) -> StoredLimit:
    return StoredLimit(id, f"slot of {id}", 0, 0, {"id": id}, rows)


def test_limits_of_operators_come_on_top_of_the_configuration() -> None:
    configured = LimitRow("org", 5, "daily")
    pool, seats = LimitRow("team:a", 7, source="api"), LimitRow("team:a", 3, per="user", source="api")
    limits = together(Limits((configured,)), [stored("spl_1", pool, seats)])
    assert limits.rows == (configured, pool, seats)
    assert {row.max for _, row in limits.applied(("org", "team:a", "user:bob"), "opus-5", ("anthropic",))} == {3, 5, 7}


def test_operators_limit_overrides_that_of_the_configuration_until_it_is_deleted() -> None:
    configured, raised = Limits((LimitRow("org", 5, "daily"),)), LimitRow("org", 9, "daily", source="api")
    assert [row.max for _, row in together(configured, [stored("spl_1", raised)]).pools()] == [9]
    assert [row.max for _, row in together(configured, []).pools()] == [5]
