"""The script of a nested workflow is found and checked; what is wrong with it is told to the script that called it."""

from typing import Any

import msgspec

from runtime.check import prepare
from runtime.core.happenings import FindWorkflow, NestedFound, NestedMissing
from runtime.launch import Settings, build_spec
from runtime.library import Library
from runtime.lookup import Lookup
from runtime.stores import MemoryRunStore
from tests.runtime.driving import OWNER, driving, launch, script


async def looked_up(**wanted: Any) -> NestedFound | NestedMissing:
    """In a library with one good and one bad script."""
    store = MemoryRunStore()
    for name, body in (("good", "return args"), ("bad", "return (")):
        await store.save_script(OWNER.user, name, script(body, name), replace=True, now_ms=0)
    asked = launch("return 1")
    spec = build_spec(asked, prepare(asked.script or ""), Settings(), now_ms=0, script_path=None)
    fields = {"id": 7, "name": None, "path": None, **wanted}
    return await Lookup(Library(store)).find(spec, FindWorkflow(**fields))


async def test_w107_saved_workflow_is_found_with_its_hash_and_meta() -> None:
    found = await looked_up(name="good")
    assert isinstance(found, NestedFound) and (found.id, found.name) == (7, "good")
    assert found.source_sha256 == prepare(script("return args", "good")).sha256
    assert msgspec.json.decode(found.meta)["description"] == "d" and "meta" not in found.body


async def test_w110_unknown_workflow_is_told() -> None:
    missing = await looked_up(name="nowhere")
    assert isinstance(missing, NestedMissing) and missing.id == 7
    assert missing.message.startswith("workflow(): there is no workflow nowhere")


async def test_w110_workflow_that_fails_its_check_is_told_with_the_place() -> None:
    missing = await looked_up(name="bad")
    assert isinstance(missing, NestedMissing)
    assert missing.message.startswith("workflow('bad'): ") and "2:" in missing.message


async def test_w110_what_is_wrong_with_a_child_can_be_caught() -> None:
    async with driving() as site:
        body = "try { await workflow('nowhere') } catch (error) { return [error instanceof Error, error.message] }"
        is_error, message = await site.outcome(body)
        assert is_error and "there is no workflow nowhere" in message


async def test_w107_child_gets_its_args_and_gives_its_value() -> None:
    async with driving() as site:
        await site.store.save_script(
            OWNER.user, "child", script("return [args, await agent('look')]"), replace=True, now_ms=0
        )
        body = "return [await workflow('child', {a: [1]}), await workflow('child', null), await workflow('child')]"
        assert await site.outcome(body) == [[{"a": [1]}, "re look"], [None, "re look"], [None, "re look"]]
