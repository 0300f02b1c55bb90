"""What is read of an upstream's answer, and which successes are none."""

from collections.abc import AsyncIterator, Sequence

import pytest

from gateway.core.wire.messages import parse_message
from gateway.errors import GatewayError, Reason
from gateway.web.received import MESSAGE_BYTES_MAX, read, read_error, require_message, require_object, require_plain


class Received:
    """An answer in two pieces, which may break off after the first."""

    status = 200

    def __init__(self, *pieces: bytes, headers: Sequence[tuple[str, str]] = (), breaks: bool = False) -> None:
        self.headers = headers
        self._pieces = pieces
        self._breaks = breaks

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        if self._breaks:
            raise GatewayError(Reason.UPSTREAM_BROKE, "broke off")

    async def close(self) -> None: ...


async def test_answer_in_pieces_is_read_whole() -> None:
    assert await read(Received(b'{"a":', b"1}")) == b'{"a":1}'
    assert await read(Received()) == b""


async def test_answer_above_the_limit_is_refused() -> None:
    half = bytes(MESSAGE_BYTES_MAX // 2)
    assert len(await read(Received(half, half))) == MESSAGE_BYTES_MAX
    with pytest.raises(GatewayError, match="larger than"):
        await read(Received(half, half, b"x"))


async def test_error_that_breaks_off_has_its_status_only() -> None:
    assert await read_error(Received(b"so far", breaks=True)) == b""
    with pytest.raises(GatewayError, match="broke off"):
        await read(Received(b"so far", breaks=True))


@pytest.mark.parametrize(("coding", "refused"), [("gzip", True), ("br", True), ("identity", False), (None, False)])
def test_compressed_success_is_refused(coding: str | None, refused: bool) -> None:
    answer = Received(headers=() if coding is None else (("Content-Encoding", coding),))
    try:
        require_plain(answer)
    except GatewayError as error:
        assert refused and error.reason is Reason.UPSTREAM_BROKE
    else:
        assert not refused


def test_success_that_is_a_page_is_refused() -> None:
    require_object(b' \n{"input_tokens":1}')
    with pytest.raises(GatewayError, match="no count"):
        require_object(b"<html>")


def test_success_that_is_no_message_is_refused() -> None:
    require_message(parse_message(b'{"id":"msg_1","model":"m","content":[]}'))
    with pytest.raises(GatewayError, match="no message"):
        require_message(parse_message(b'{"detail":"no"}'))
