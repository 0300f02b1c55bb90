"""Decisions read back from a trail."""

from pathlib import Path

from gateway.commands.policy_kit.decisions import PLACES_NAMED, Decisions
from tests.gateway.commands.policy_kit.trails import LIST, SPAWN, write_trail


def test_only_decisions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    write_trail(path, [LIST, SPAWN])
    trail = Decisions([path])
    assert [each.id for each in trail] == ["dec_1", "dec_1.1"]
    assert (trail.unreadable, trail.oldest_ms) == (0, 1_790_000_000_000)


def test_torn_and_foreign_lines_are_counted_and_the_first_are_named(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    write_trail(path, [LIST])
    whole = path.read_bytes()
    bad = whole.splitlines()[1].replace(b'"at_ms":1790000000000', b'"at_ms":-1')
    path.write_bytes(whole + bad + b"\n" + b"junk\n" * 6 + whole[:40])
    trail = Decisions([path])
    assert len(list(trail)) == 1
    assert trail.unreadable == 8 and trail.places == [f"{path}:{3 + at}" for at in range(PLACES_NAMED)]


def test_decision_of_a_trail_without_queries_is_read(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_text(
        '{"event":"decision","at_ms":1,"id":"dec_1","kind":"infer","allow":true,"obligations":["log_full"],'
        '"principal":{"org":"o","team":null,"user":"u","credential":"c"},"lineage":{"session":"s","agent":"main"}}\n'
    )
    (record,) = Decisions([path])
    assert record.action is None and record.obligations == ("log_full",)
