"""Scripts are found by name or path, afresh each time, and nothing outside the workspace is opened."""

import os
import threading
from pathlib import Path

import pytest

from runtime.core.model import Owner
from runtime.library import FOLDER, Library, find_named, read_below
from runtime.ports import ScriptMissing
from runtime.stores import MemoryRunStore
from tests.runtime.driving import OWNER, driving, launch, script

BOB = Owner(user="bob", credential="bob-laptop")


def put(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


async def library(**saved: str) -> Library:
    """With these of alice's."""
    store = MemoryRunStore()
    for name, text in saved.items():
        await store.save_script(OWNER.user, name, text, replace=True, now_ms=0)
    return Library(store)


async def test_w06_file_is_read_afresh_each_time(tmp_path: Path) -> None:
    scripts, file = await library(), put(tmp_path, f"{FOLDER}/audit.js", "one")
    first = await scripts.find(OWNER, str(tmp_path), name="audit", path=None)
    file.write_text("two")
    second = await scripts.find(OWNER, str(tmp_path), name="audit", path=None)
    assert (first.source, second.source, second.path) == ("one", "two", str(file))


async def test_workspace_goes_before_the_library_of_its_owner(tmp_path: Path) -> None:
    scripts = await library(audit="saved")
    assert (await scripts.find(OWNER, str(tmp_path), name="audit", path=None)).source == "saved"
    put(tmp_path, f"{FOLDER}/audit.js", "of the project")
    assert (await scripts.find(OWNER, str(tmp_path), name="audit", path=None)).source == "of the project"


async def test_w137_library_of_another_is_not_there() -> None:
    scripts = await library(audit="saved")
    with pytest.raises(ScriptMissing, match="there is no workflow audit"):
        await scripts.find(BOB, None, name="audit", path=None)


def test_script_is_found_by_the_name_in_its_meta(tmp_path: Path) -> None:
    put(tmp_path, f"{FOLDER}/a-broken.js", "export const meta = {name: 'audit'")
    put(tmp_path, f"{FOLDER}/b.mjs", script("return 1", "audit"))
    found = find_named(tmp_path, "audit")
    assert found is not None and found.path == str(tmp_path / FOLDER / "b.mjs")
    assert find_named(tmp_path, "other") is None


@pytest.mark.parametrize("name", ["../audit", "Audit", "", "a/b", "x" * 65, ".hidden"], ids=repr)
async def test_w07_name_that_is_none_is_looked_for_nowhere(name: str, tmp_path: Path) -> None:
    put(tmp_path, "audit.js", "outside")
    with pytest.raises(ScriptMissing, match="is no name of a workflow"):
        await (await library()).find(OWNER, str(tmp_path), name=name, path=None)


def test_w07_path_below_the_workspace_is_read(tmp_path: Path) -> None:
    file = put(tmp_path, "scripts/sweep.js", "text")
    for path in ("scripts/sweep.js", "scripts/../scripts/sweep.js", str(file)):
        assert read_below(str(tmp_path), path).path == str(file)


@pytest.mark.parametrize("path", ["../secret.js", "link.js", "folder/secret.js"])
def test_w07_path_that_leads_out_of_the_workspace_is_refused(path: str, tmp_path: Path) -> None:
    put(tmp_path, "secret.js", "secret")
    workspace = tmp_path / "project"
    workspace.mkdir()
    (workspace / "link.js").symlink_to("../secret.js")
    (workspace / "folder").symlink_to("..")
    with pytest.raises(ScriptMissing, match="leads out of") as missing:
        read_below(str(workspace), path)
    assert "secret" not in str(missing.value).replace("secret.js", "")


@pytest.mark.parametrize("path", ["\\\\host\\share\\x.js", "//host/share/x.js", "\\\\?\\C:\\x.js", "a\0b"], ids=repr)
def test_w07_network_and_device_paths_are_refused_before_any_access(path: str, tmp_path: Path) -> None:
    with pytest.raises(ScriptMissing, match="is no path in the workspace"):
        read_below(str(tmp_path), path)


def test_w07_directory_that_is_swapped_for_a_link_meanwhile_leads_nowhere(tmp_path: Path) -> None:
    """As an agent's command may do while its script looks for a workflow."""
    inside, outside = put(tmp_path, "project/sub/sweep.js", "text"), put(tmp_path, "elsewhere/sweep.js", "secret")
    place, link = inside.parent, tmp_path / "project" / "link"
    link.symlink_to(outside.parent)
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            place.rename(tmp_path / "project" / "aside")
            link.rename(place)
            place.rename(link)
            (tmp_path / "project" / "aside").rename(place)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        sources = {_source_or_none(tmp_path / "project", "sub/sweep.js") for _ in range(3_000)}
    finally:
        over.set()
        swapping.join()
    assert sources <= {"text", None}


def _source_or_none(workspace: Path, path: str) -> str | None:
    try:
        return read_below(str(workspace), path).source
    except ScriptMissing:
        return None


def test_w07_link_within_the_workspace_is_followed(tmp_path: Path) -> None:
    put(tmp_path, "real.js", "text")
    (tmp_path / "link.js").symlink_to("real.js")
    assert read_below(str(tmp_path), "link.js").source == "text"


def test_w07_file_that_has_another_name_elsewhere_is_not_read(tmp_path: Path) -> None:
    outside, workspace = put(tmp_path, "outside.js", "text"), tmp_path / "workspace"
    workspace.mkdir()
    os.link(outside, workspace / "inside.js")
    with pytest.raises(ScriptMissing, match="hard links"):
        read_below(str(workspace), "inside.js")


def test_w07_what_is_no_plain_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.js")
    (tmp_path / "folder.js").mkdir()
    for name in ("pipe.js", "folder.js"):
        with pytest.raises(ScriptMissing, match="is a pipe|is a directory"):
            read_below(str(tmp_path), name)


def test_w07_path_without_a_workspace_is_refused() -> None:
    with pytest.raises(ScriptMissing, match="needs a workspace"):
        read_below(None, "sweep.js")


def test_path_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ScriptMissing, match="sweep.js cannot be read in .* \\(No such file or directory\\)"):
        read_below(str(tmp_path), "sweep.js")


def test_w13_file_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sweep.js").write_bytes(b"\xff\xfe")
    with pytest.raises(ScriptMissing, match="is not UTF-8"):
        read_below(str(tmp_path), "sweep.js")


async def test_w05_script_of_a_run_is_found_by_its_reference() -> None:
    async with driving() as site:
        answer = await site.desk.start(launch("return 'ä'"), idempotency=None)
        found = await Library(site.store).find(OWNER, None, name=None, path=answer["scriptPath"])
        assert found.source == script("return 'ä'")


async def test_w137_script_of_anothers_run_answers_like_one_that_is_not_there() -> None:
    async with driving() as site:
        run, library = await site.start("return 1"), Library(site.store)
        with pytest.raises(ScriptMissing) as others:
            await library.find(BOB, None, name=None, path=f"run:{run}")
        with pytest.raises(ScriptMissing) as unknown:
            await library.find(BOB, None, name=None, path="run:wf_000000")
        assert str(others.value).replace(run, "X") == str(unknown.value).replace("wf_000000", "X")
