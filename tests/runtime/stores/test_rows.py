"""What stores make of rows and entries before they keep them."""

import msgspec

from runtime.ports import Entry
from runtime.stores.rows import SavedScript, decode_row, encode_row, references
from tests.runtime.stores.homes import run_row

ONE, TWO, THREE = ("1a" * 32, "2b" * 32, "3c" * 32)


def test_row_is_the_same_after_it_was_kept() -> None:
    row = msgspec.structs.replace(run_row(), workspace="/repo", record=msgspec.Raw(b'{"a": [1,  2]}'))
    assert decode_row(encode_row(row)) == row


def test_references_are_what_is_brought_and_what_lines_name() -> None:
    result = f'{{"type":"result","ref":"{ONE}","transcript_sha256":"{TWO}"}}'.encode()
    nested = f'{{"type":"nested","source_sha256":"{ONE}"}}'.encode()
    assert references(Entry(lines=(result, nested), blobs=((THREE, b"x"),))) == [ONE, TWO, THREE]


def test_hash_in_a_prompt_or_of_another_kind_is_no_reference() -> None:
    prompt = msgspec.json.encode({"type": "issued", "prompt": f'{{"ref":"{ONE}"}}'})
    header = f'{{"type":"run","script_sha256":"{ONE}","ref":"{ONE[:-1]}"}}'.encode()
    assert references(Entry(lines=(prompt, header))) == []


def test_hash_of_a_script_is_that_of_its_text() -> None:
    saved = SavedScript("alice", "check", "", 0)
    assert saved.sha256 == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
