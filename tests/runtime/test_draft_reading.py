"""The script of an answer is found wherever a model puts it, and what is no script is told apart."""

import pytest

from runtime.draft.guide import NO_SCRIPT, SEVERAL, UNENDED
from runtime.draft.reading import NoScript, find_script

SCRIPT = "export const meta = {name: 'a', description: 'b'}\nreturn await agent('look')\n"
JSON = '```json\n{"folder": "src"}\n```\n'

FOUND = {
    "one_block": f"```js\n{SCRIPT}```",
    "words_around_it": f"Here it is.\n\n```javascript\n{SCRIPT}```\n\nIt starts one agent.\n",
    "no_language": f"```\n{SCRIPT}```",
    "upper_case_language": f"```JS\n{SCRIPT}```",
    "tildes": f"~~~js\n{SCRIPT}~~~",
    "longer_closing_fence": f"```js\n{SCRIPT}`````",
    "indented_fence": f"  ```js\n{SCRIPT}  ```",
    "block_of_another_language_beside_it": f"{JSON}\n```js\n{SCRIPT}```\n{JSON}",
    "second_block_that_is_no_script": f"```js\nconst part = 1\n```\n```js\n{SCRIPT}```",
    "no_block_at_all": SCRIPT,
}


@pytest.mark.parametrize("answer", FOUND.values(), ids=FOUND)
def test_script_in_an_answer_is_found_as_it_was_written(answer: str) -> None:
    assert find_script(answer) == SCRIPT


def test_windows_line_ends_are_kept_for_the_check() -> None:
    assert find_script("```js\r\nreturn 1\r\n```\r\n") == "return 1\r\n"


def test_longer_fence_holds_a_script_with_a_fence_in_it() -> None:
    inner = f"{SCRIPT}const text = `\n```\nquoted\n```\n`\n"
    assert find_script(f"````js\n{inner}````") == inner


NOT_FOUND = {
    "nothing": ("", NO_SCRIPT),
    "words": ("I cannot do that.", NO_SCRIPT),
    "other_language": (JSON, NO_SCRIPT),
    "code_within_a_line": ("Write ```return 1``` there.", NO_SCRIPT),
    "two_scripts": (f"```js\n{SCRIPT}```\nor\n```js\n{SCRIPT}```", SEVERAL),
    "two_parts": ("```js\nlet a\n```\n```js\nlet b\n```", SEVERAL),
    "no_end": (f"```js\n{SCRIPT}", UNENDED),
}


@pytest.mark.parametrize(("answer", "why"), NOT_FOUND.values(), ids=NOT_FOUND)
def test_answer_without_one_script_says_what_to_do(answer: str, why: str) -> None:
    with pytest.raises(NoScript) as raised:
        find_script(answer)
    assert str(raised.value) == why


def test_many_opening_fences_are_read_in_one_pass() -> None:
    with pytest.raises(NoScript):
        find_script("```json\n```\n" * 50_000)
