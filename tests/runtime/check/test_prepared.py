"""From a script as it came to one that may run: limits, encodings, hidden characters, and what the sandbox gets."""

from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.check import prepare
from runtime.check.prepared import check
from runtime.core.limits import SCRIPT_BYTES_MAX

WORKFLOWS = sorted((Path(__file__).parents[2] / "golden" / "workflows").glob("*.js"))
META = "export const meta = {name: 'n', description: 'd'}\n"


def code_of(script: str | bytes) -> str | None:
    error = prepare(script).error
    return None if error is None else error.code


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_w15_real_scripts_are_ready_to_run(path: Path) -> None:
    prepared = prepare(path.read_bytes())
    assert prepared.error is None and prepared.profile.valid
    assert prepared.meta["name"] == prepared.profile.name


def test_w12_script_at_the_limit_passes_and_one_byte_more_does_not() -> None:
    head = META + "/*"
    fits = head + "é" * ((SCRIPT_BYTES_MAX - len(head) - 2) // 2) + "*/"
    fits += " " * (SCRIPT_BYTES_MAX - len(fits.encode()))
    assert code_of(fits) is None
    assert code_of(fits + " ") == "script_too_large"


def test_w13_bytes_that_are_no_utf8_are_refused_with_their_place() -> None:
    prepared = prepare(META.encode() + b"log('\xff')")
    assert prepared.error is not None and str(prepared.error).startswith("2:6 not_unicode:")
    assert prepared.body == "" and not prepared.profile.valid


def test_w13_half_a_surrogate_pair_is_refused() -> None:
    assert code_of(META + "log('\ud800')") == "not_unicode"


@pytest.mark.parametrize("end", ["\r\n", "\r"], ids=["crlf", "cr"])
def test_w13_line_ends_and_mark_change_neither_hash_nor_source(end: str) -> None:
    script = META + "log('a')\nreturn 1\n"
    foreign = ("\ufeff" + script.replace("\n", end)).encode()
    assert prepare(foreign) == prepare(script)
    assert prepare(foreign).sha256 == sha256(script.encode()).hexdigest()


def test_w13_only_one_leading_mark_is_dropped() -> None:
    prepared = prepare("\ufeff" + META + "log('\ufeff')")
    assert prepared.source.count("\ufeff") == 1
    assert any("U+FEFF, 1 in all" in warning for warning in prepared.warnings)


@pytest.mark.parametrize(
    "code", [0x00, 0x08, 0x0B, 0x0C, 0x1B, 0x1F, 0x7F, 0x80, 0x85, 0x9F, 0x202A, 0x202E, 0x2066, 0x2069], ids=hex
)
def test_w14_hidden_character_is_an_error_with_code_point_and_place(code: int) -> None:
    error = prepare(META + f"// é{chr(code)}").error
    assert error is not None and (error.line, error.column) == (2, 5)
    assert error.code == "hidden_characters" and f"U+{code:04X}" in error.message


@pytest.mark.parametrize(
    "text", ["\t", "\u2014", "\u2192", "\u2500", "\U0001f600", "\u2764\ufe0f", "\u00a0"], ids=ascii
)
def test_w14_ordinary_typography_is_fine(text: str) -> None:
    prepared = prepare(META + f"log('{text}')")
    assert (prepared.error, prepared.warnings) == (None, ())


@pytest.mark.parametrize("code", [0xAD, 0x180E, 0x200B, 0x200C, 0x200D, 0x200F, 0x2060, 0x206F, 0xFEFF], ids=hex)
def test_w14_character_without_width_is_a_warning(code: int) -> None:
    prepared = prepare(META + f"log('a{chr(code)}{chr(code)}')")
    assert prepared.error is None
    assert prepared.warnings == (f"2:7 zero_width_characters: U+{code:04X}, 2 in all.",)


def test_w14_words_that_are_spelt_unseen_are_one_warning() -> None:
    prepared = prepare(META + "log('a" + "".join(chr(0xE0000 + ord(letter)) for letter in "push it") + "')")
    assert prepared.warnings == ("2:7 zero_width_characters: U+E0000 to U+E007F, 7 in all.",)


def test_w14_hidden_character_wins_over_every_other_error() -> None:
    assert code_of("let let let \u202e") == "hidden_characters"


def test_w16_meta_becomes_spaces_and_every_place_stays() -> None:
    script = "// é\n'use strict'\nexport const meta = {\n  name: 'é', description: 'd',\n}; log('x')\nreturn 1\n"
    body = prepare(script).body
    assert [len(line) for line in body.split("\n")] == [len(line) for line in script.split("\n")]
    assert body.split("\n")[4:] == ["   log('x')", "return 1", ""] and "meta" not in body


def test_w16_hash_bang_line_is_no_part_of_the_body() -> None:
    prepared = prepare("#!/usr/bin/env node\n" + META + "return 1")
    assert prepared.error is None and prepared.body.split("\n")[0].strip() == ""


def test_w18_meta_is_plain_json_without_special_keys() -> None:
    prepared = prepare("export const meta = {name: 'n', description: 'd', extra: [1, -2.5, true, null, {a: `b`}]}\n")
    assert msgspec.json.decode(msgspec.json.encode(prepared.meta)) == prepared.meta
    assert prepared.meta["extra"] == [1, -2.5, True, None, {"a": "b"}]


def test_w25_escapes_in_texts_survive_byte_for_byte() -> None:
    line = r"log('\u00e9\x41\u{1F600}\n\'', `\u202e`, /\u0041/u)"
    prepared = prepare(META + line)
    assert prepared.error is None
    assert prepared.source.endswith(line) and prepared.body.endswith(line)


def test_script_with_an_error_has_neither_body_nor_meta() -> None:
    prepared = prepare(META + "const a = ;")
    assert (prepared.body, prepared.meta) == ("", {})
    assert prepared.profile.problems == (str(prepared.error),)


def test_first_error_wins_and_all_are_listed() -> None:
    prepared = prepare(META + "require('a')\nimport 'b'\nrequire('c')")
    assert prepared.error is not None and prepared.error.line == 2
    assert [problem.split(":")[0] for problem in prepared.profile.problems] == ["2", "3", "4"]


def test_check_of_the_tree_alone_says_the_same_of_valid_scripts() -> None:
    script = WORKFLOWS[0].read_text()
    assert check(script) == prepare(script).profile


@settings(max_examples=300)
@given(
    st.binary(max_size=120) | st.text(max_size=120) | st.text("{}()[];=>'`$/\\\n ameta.", max_size=80).map(META.__add__)
)
def test_whatever_comes_is_answered_without_an_exception(source: str | bytes) -> None:
    prepared = prepare(source)
    assert (prepared.error is None) == prepared.profile.valid
    assert len(prepared.sha256) == 64
