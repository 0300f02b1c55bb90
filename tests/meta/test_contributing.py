"""CONTRIBUTING.md's example of a new backend works as it stands, in a copy of the tree, and touches four places."""

import contextlib
import difflib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.meta.sources import ROOT

pytestmark = pytest.mark.timeout(240)  # a whole run of tests is in it, which share the cores with those beside it
PAGE = ROOT / "CONTRIBUTING.md"
PLACES = {
    "gateway/upstreams/acme.py",
    "tests/gateway/upstreams/test_acme.py",
    "tests/golden/acme",
    "gateway/config/backends.py",
}
"""Of a backend of the Anthropic shape, as the design has it."""
TABLE_FILE = "gateway/config/backends.py"
TABLE = "BACKENDS: dict[str, Backend] = {\n"
LINE, FILE = "line", "file"
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".*cache*", ".hypothesis", "__pycache__", "*.db*", "node_modules")
OTHERS = (
    "tests/meta/test_layout.py",
    "tests/meta/test_backends.py",
    "tests/gateway/config/test_upstreams.py",
    "tests/gateway/core/bridging/test_capabilities.py",
    "tests/gateway/upstreams/test_backends.py",
)
"""What else must hold of a new backend, or counts backends."""
SERVE = """
import asyncio, json, pathlib, sys
from tests.support.dialects import write_request
from tests.support.gateway import serving
from tests.support.upstream import ScriptedUpstream, json_answer, message, text_block

async def main(directory):
    found = {}
    async with ScriptedUpstream(lambda _: json_answer(message([text_block("Hi.")]))) as acme:
        upstream = {"id": "acme-eu", "backend": "acme", "base_url": acme.base_url, "api_key": "acme-secret"}
        async with serving(directory, "", upstreams=[upstream]) as gateway:
            for dialect in ("anthropic", "bedrock", "vertex"):
                body = {"model": "claude-opus-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
                sent = write_request(dialect, body | {"fallbacks": [{"model": "claude-opus-4-8"}]})
                async with gateway.post(sent.body, path=sent.path, headers=sent.headers) as response:
                    found[dialect] = [response.status, response.headers.get("x-ringfence-bridged")]
                found[dialect] += [acme.received[-1].raw_path, acme.received[-1].header("acme-key")]
                found[dialect].append("fallbacks" in acme.received[-1].json())
    print(json.dumps(found))

asyncio.run(main(pathlib.Path(sys.argv[1])))
"""


def fences(kind: str) -> dict[str, str]:
    """Path to content of what the page shows."""
    shown = re.findall(rf"^<!-- {kind}: (\S+) -->\n```\w+\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    assert len(dict(shown)) == len(shown)
    return dict(shown)


def run(tree: Path, *command: str) -> str:
    """What a Python command says in the copy; it must end well."""
    done = subprocess.run([sys.executable, *command], cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def copy_unless_gone(source: str, target: str) -> None:
    """What was a file of somebody who writes in the tree at this moment is none of it."""
    with contextlib.suppress(FileNotFoundError):
        shutil.copy2(source, target)


def files_of(top: Path) -> dict[str, bytes]:
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}


@dataclass(frozen=True, slots=True)
class Contributed:
    """A copy of the tree with the example applied, and all files before and after that."""

    tree: Path
    before: dict[str, bytes]
    after: dict[str, bytes]


@pytest.fixture(scope="module")
def contributed(tmp_path_factory: pytest.TempPathFactory) -> Contributed:
    copy = tmp_path_factory.mktemp("contributed") / "tree"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT, copy_function=copy_unless_gone)
    before = files_of(copy)
    for name, content in fences(FILE).items():
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text(content)
    for name, line in fences(LINE).items():
        top, opening, rest = (copy / name).read_text().partition(TABLE)
        (copy / name).write_text(top + opening + line + rest)
    return Contributed(copy, before, files_of(copy))


@pytest.fixture
def tree(contributed: Contributed) -> Path:
    return contributed.tree


def test_example_touches_exactly_four_places_and_one_line_of_what_was_there(contributed: Contributed) -> None:
    before, after = contributed.before, contributed.after
    changed = {name for name, content in after.items() if before.get(name) != content}
    assert {name if name in PLACES else Path(name).parent.as_posix() for name in changed} == PLACES
    assert changed & before.keys() == {TABLE_FILE}
    lines = difflib.ndiff(before[TABLE_FILE].decode().splitlines(), after[TABLE_FILE].decode().splitlines())
    assert [line[:2] for line in lines if line[0] != " "] == ["+ "]


def test_configuration_with_the_new_backend_is_checked(tree: Path, tmp_path: Path) -> None:
    upstream = {"id": "acme-eu", "backend": "acme", "api_key": "acme-secret"}
    file = tmp_path / "ringfence.yaml"
    file.write_text(json.dumps({"upstreams": [upstream]}))
    said = json.loads(run(tree, "-m", "gateway", "check", "--config", str(file), "--json"))
    assert (said["ok"], said["warnings"], said["summary"]["upstreams"]) == (True, [], "acme-eu (acme)")


def test_tests_of_the_new_backend_and_of_the_tree_pass(tree: Path) -> None:
    said = run(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/gateway/upstreams/test_acme.py", *OTHERS)
    assert re.search(r"^\d\d+ passed", said.splitlines()[-1])


def test_new_backend_is_reached_from_every_dialect_and_lacks_nothing(tree: Path, tmp_path: Path) -> None:
    found = json.loads(run(tree, "-c", SERVE, str(tmp_path)))
    assert found == {
        name: [200, None, "/v1/messages", "acme-secret", True] for name in ("anthropic", "bedrock", "vertex")
    }


def test_example_is_written_as_the_rest_of_the_code(tree: Path) -> None:
    files = [name for name in (*fences(FILE), *fences(LINE)) if name.endswith(".py")]
    assert len(files) == 3
    run(tree, "-m", "ruff", "check", "--no-cache", *files)
    run(tree, "-m", "ruff", "format", "--no-cache", "--check", *files)
