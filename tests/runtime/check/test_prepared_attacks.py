"""Scripts that are made to be slow to look at: whoever checks them is back within seconds, with an error."""

import time

import pytest

from runtime.check import prepare
from runtime.core.limits import SCRIPT_BYTES_MAX

HEAD = "export const meta = {name: 'a', description: 'b'}\n"
SECONDS_MAX = 10.0
"""On a machine that has much else to do; alone each one takes less than a second."""
PIECES = ("a=>", "a?b:", "(", "[", "`${", "!", "new ", "a:", "await ", "parallel([", "(a|b)*", "<a>")


@pytest.mark.parametrize("piece", PIECES)
def test_w12_script_of_one_piece_over_and_over_is_refused_in_time(piece: str) -> None:
    script = HEAD + piece * ((SCRIPT_BYTES_MAX - len(HEAD)) // len(piece))
    began = time.process_time()
    error = prepare(script).error
    assert error is not None and error.code in ("syntax_error", "script_too_complex")
    assert time.process_time() - began < SECONDS_MAX


def test_w15_short_script_with_a_hole_is_still_shown_to_the_compiler() -> None:
    error = prepare(f"{HEAD}const a: string = 'x'").error
    assert error is not None and (error.code, error.line) == ("syntax_error", 2)
