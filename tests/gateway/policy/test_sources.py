"""Where policies are read from: a folder, a commit, a bundle; and what is refused of each."""

import gzip
import io
import json
import os
import subprocess
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.config.model import Policy, PolicyBundle, Secret
from gateway.errors import GatewayError
from gateway.policy.bundle import FILE_BYTES_MAX
from gateway.policy.sources import UNPACKED_BYTES_MAX, BundleServer, Checkout, Folder, build_source, unpack

MAIN = "package ringfence\n"
FILES = {"main.rego": MAIN, "rules/a/b/rule.rego": "package ringfence.rules.a.b\n", "notes.txt": "not read"}
READ = {name: text for name, text in FILES.items() if name != "notes.txt"}


def tar_of(files: Mapping[str, str], prefix: str = "", **manifest: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        whole = {**files, ".manifest": json.dumps(manifest)} if manifest else files
        for name, text in whole.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


def git(repository: Path, *arguments: str) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": str(repository), "GIT_CONFIG_NOSYSTEM": "1"}
    identity = ("-c", "user.name=Olga", "-c", "user.email=olga@acme.example", "-c", "init.defaultBranch=main")
    ended = subprocess.run(
        ["git", *identity, "-C", str(repository), *arguments], capture_output=True, env=environment, check=True
    )
    return ended.stdout.decode().strip()


def commit(repository: Path, files: Mapping[str, str]) -> str:
    """Commits `files`; the id of the commit."""
    for name, text in files.items():
        path = repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "policies")
    return git(repository, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    return tmp_path


def test_configuration_names_the_source(tmp_path: Path) -> None:
    folder = build_source(Policy(path=tmp_path))
    checkout = build_source(Policy(bundle=PolicyBundle(git=tmp_path, ref="main", folder="rego", poll_seconds=5)))
    server = build_source(Policy(bundle=PolicyBundle(url="https://b.acme.example/p.tar.gz")))
    assert (folder.place, folder.poll_seconds) == (str(tmp_path), None)
    assert (checkout.place, checkout.poll_seconds) == (f"{tmp_path} at main rego", 5)
    assert (server.place, server.poll_seconds) == ("https://b.acme.example/p.tar.gz", 30)


async def test_folder_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "main.rego").write_text(MAIN)
    source = Folder(tmp_path)
    first = await source.read(fresh=True)
    (tmp_path / "main.rego").write_text(MAIN + "x := 1\n")
    second = await source.read(fresh=False)
    assert first is not None and first.bundle.files == {"main.rego": MAIN}
    assert second is not None and second.bundle.files == {"main.rego": MAIN + "x := 1\n"}


async def test_commit_is_read_and_not_the_work_tree(repository: Path) -> None:
    at = commit(repository, FILES)
    (repository / "main.rego").write_text("package ringfence\n\nallow := true\n")
    fetched = await Checkout(PolicyBundle(git=repository)).read(fresh=False)
    assert fetched is not None and fetched.bundle.files == READ and fetched.version == at


async def test_commit_is_read_once_until_the_ref_moves(repository: Path) -> None:
    commit(repository, FILES)
    source = Checkout(PolicyBundle(git=repository, ref="main"))
    assert await source.read(fresh=False) is not None
    assert await source.read(fresh=False) is None
    assert await source.read(fresh=True) is not None
    moved = commit(repository, {"main.rego": MAIN + "x := 1\n"})
    fetched = await source.read(fresh=False)
    assert fetched is not None and fetched.version == moved and fetched.bundle.files["main.rego"].endswith("x := 1\n")


async def test_folder_of_a_commit_is_its_top(repository: Path) -> None:
    commit(repository, {f"rego/policies/{name}": text for name, text in FILES.items()})
    fetched = await Checkout(PolicyBundle(git=repository, folder="rego/policies")).read(fresh=False)
    assert fetched is not None and fetched.bundle.files == READ


async def test_links_of_a_commit_are_not_followed(repository: Path) -> None:
    (repository / "secret.rego").symlink_to("/etc/passwd")
    commit(repository, FILES)
    fetched = await Checkout(PolicyBundle(git=repository)).read(fresh=False)
    assert fetched is not None and fetched.bundle.files == READ


@pytest.mark.parametrize(
    ("ref", "folder", "said"),
    [
        ("release", "", "no such ref"),
        ("HEAD", "nothing", "git says"),
        ("HEAD", "rules", "main.rego is missing"),
    ],
)
async def test_commit_without_policies_is_refused(repository: Path, ref: str, folder: str, said: str) -> None:
    commit(repository, FILES)
    with pytest.raises(GatewayError, match=said):
        await Checkout(PolicyBundle(git=repository, ref=ref, folder=folder)).read(fresh=False)


async def test_large_file_of_a_commit_is_refused(repository: Path) -> None:
    commit(repository, {**FILES, "large.json": "x" * (FILE_BYTES_MAX + 1)})
    with pytest.raises(GatewayError, match="one above"):
        await Checkout(PolicyBundle(git=repository)).read(fresh=False)


async def test_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match="no policies could be read"):
        await Checkout(PolicyBundle(git=tmp_path / "absent")).read(fresh=False)


@pytest.mark.parametrize("prefix", ["", "/", "./"])
def test_bundle_is_unpacked_with_the_revision_of_its_manifest(prefix: str) -> None:
    fetched = unpack(tar_of(FILES, prefix, revision="v12"), "here")
    assert fetched.bundle.files == READ and fetched.version == "v12"


def test_bundle_without_a_manifest_has_no_revision() -> None:
    assert unpack(tar_of(FILES), "here").version == ""


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(b"no tar"), tar_of(FILES)[:40], tar_of({"x.rego": "package x\n"})],
    ids=["empty", "no gzip", "no tar", "cut", "no policies"],
)
def test_bundle_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(GatewayError):
        unpack(content, "here")


def test_bundle_that_unpacks_to_more_than_may_be_is_refused() -> None:
    with pytest.raises(GatewayError, match="unpacked it is larger"):
        unpack(gzip.compress(b"\0" * (UNPACKED_BYTES_MAX + 1)), "here")


def test_links_in_a_bundle_are_not_followed() -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, kind in (("main.rego", tarfile.REGTYPE), ("passwd.rego", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, "/etc/passwd", len(MAIN) * (kind == tarfile.REGTYPE)
            archive.addfile(member, io.BytesIO(MAIN.encode()))
    assert unpack(packed.getvalue(), "here").bundle.files == {"main.rego": MAIN}


def test_sparse_file_in_a_bundle_is_not_written_out() -> None:
    header = bytearray(tarfile.TarInfo("main.rego").tobuf(tarfile.GNU_FORMAT))
    header[156:157], header[483:495] = b"S", b"77777777777\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    with pytest.raises(GatewayError, match="sparse"):
        unpack(gzip.compress(bytes(header) + bytes(1024)), "here")


@dataclass
class Bundles:
    """A bundle server: the bundle, what it answers, and what it was asked."""

    content: bytes = tar_of(FILES, revision="v1")
    etag: str = '"1"'
    status: int = 200
    asked: list[Mapping[str, str]] = field(default_factory=list[Mapping[str, str]])

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.headers)
        if self.status != 200:
            return web.Response(status=self.status)
        if request.headers.get("If-None-Match") == self.etag:
            return web.Response(status=304)
        return web.Response(body=self.content, headers={"ETag": self.etag}, content_type="application/gzip")


@asynccontextmanager
async def bundle_server(bundles: Bundles, token: Secret | None = None) -> AsyncIterator[BundleServer]:
    app = web.Application()
    app.router.add_get("/bundles/p.tar.gz", bundles.answer)
    async with TestServer(app) as server:
        yield BundleServer(PolicyBundle(url=str(server.make_url("/bundles/p.tar.gz")), token=token))


async def test_bundle_is_fetched_once_until_the_server_has_another() -> None:
    bundles = Bundles()
    async with bundle_server(bundles) as source:
        first = await source.read(fresh=False)
        assert await source.read(fresh=False) is None
        bundles.content, bundles.etag = tar_of({**FILES, "main.rego": MAIN + "x := 1\n"}, revision="v2"), '"2"'
        second = await source.read(fresh=False)
    assert first is not None and first.version == "v1" and second is not None and second.version == "v2"
    assert [headers.get("If-None-Match") for headers in bundles.asked] == [None, '"1"', '"1"']


async def test_bundle_that_is_asked_for_fresh_is_fetched_again() -> None:
    bundles = Bundles()
    async with bundle_server(bundles) as source:
        await source.read(fresh=False)
        assert await source.read(fresh=True) is not None
    assert "If-None-Match" not in bundles.asked[1]


async def test_bundle_that_was_refused_is_fetched_again() -> None:
    bundles = Bundles(content=b"half")
    async with bundle_server(bundles) as source:
        with pytest.raises(GatewayError):
            await source.read(fresh=False)
        bundles.content = tar_of(FILES)
        assert await source.read(fresh=False) is not None


async def test_token_is_shown_to_the_bundle_server_and_nowhere_else() -> None:
    bundles = Bundles(status=401)
    async with bundle_server(bundles, Secret("s3cret")) as source:
        with pytest.raises(GatewayError, match="the server answered 401") as caught:
            await source.read(fresh=False)
    assert bundles.asked[0]["Authorization"] == "Bearer s3cret" and "s3cret" not in caught.value.message


async def test_server_that_is_away_is_named() -> None:
    with pytest.raises(GatewayError, match=r"127\.0\.0\.1:9/p: the server cannot be reached"):
        await BundleServer(PolicyBundle(url="http://127.0.0.1:9/p")).read(fresh=False)
