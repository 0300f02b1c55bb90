"""What is asked when the tokens of a request are counted."""

import json

from gateway.core.estimates.counting import count_body
from gateway.core.wire.spans import members

BODY = (
    b'{"model": "m", "max_tokens":9,"stream":true, "system":"s\\u00e9", '
    b'"messages":[{"role":"user","content":"hi"}],"x":1}'
)


def test_count_asks_with_the_fields_of_the_prompt_as_they_were_written() -> None:
    counted, spans = count_body(BODY, members(BODY))
    assert json.loads(counted) == {"model": "m", "system": "sé", "messages": [{"role": "user", "content": "hi"}]}
    assert counted[slice(*spans["system"])] == b'"s\\u00e9"'


def test_count_of_a_body_without_such_fields_is_empty() -> None:
    assert count_body(b'{"stream":true}', {"stream": (10, 14)}) == (b"{}", {})
