"""Where a policy set is read from: a folder, a commit of a Git checkout, or the bundle of a server. Nothing is checked.

- Folder: as it is at each reload. It is not watched.
- Git: the tree of a commit, straight from the object database: not the work tree, no filters, no hooks. Nothing is
  fetched; whatever keeps the checkout moves the ref.
- Bundle: a gzipped tar of the policy directory, as OPA's bundle API serves it: `GET` with `If-None-Match` and a bearer
  token. A `.manifest` in it names its revision. Signatures are not checked.
"""

import asyncio
import io
import json
import subprocess
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import aiohttp

from gateway.config.model import Policy, PolicyBundle
from gateway.errors import GatewayError, Reason
from gateway.policy.bundle import FILE_BYTES_MAX, FILES_MAX, Bundle, belongs, load_bundle, read_bundle

BUNDLE_BYTES_MAX = 16 * 1024 * 1024
"""Of a bundle as it comes; taken apart it may be four times that."""
UNPACKED_BYTES_MAX = 4 * BUNDLE_BYTES_MAX
FETCH_SECONDS_MAX = 30.0
GIT_SECONDS_MAX = 15.0
MANIFEST = ".manifest"

_REGULAR = frozenset({"100644", "100755"})
"""Modes of files in a tree; links and submodules are not followed."""
_GZIP_WINDOW = 31


@dataclass(frozen=True, slots=True)
class Fetched:
    """A policy set as its source had it."""

    bundle: Bundle
    version: str = ""
    """What the source calls it: a commit, or the revision of a bundle."""


class Source(Protocol):
    """One place that policies come from."""

    @property
    def place(self) -> str:
        """As messages name it."""
        ...

    @property
    def poll_seconds(self) -> float | None:
        """How often to look; None: only when somebody asks."""
        ...

    async def read(self, *, fresh: bool) -> Fetched | None:
        """The set; None when it is the one that the last call gave and `fresh` is not set. Raises `GatewayError`."""
        ...


def build_source(policy: Policy) -> Source:
    """The source that the configuration names."""
    if policy.bundle is None:
        return Folder(policy.folder)
    return Checkout(policy.bundle) if policy.bundle.git is not None else BundleServer(policy.bundle)


class Folder:
    """A policy directory."""

    poll_seconds = None

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def place(self) -> str:
        return str(self._path)

    async def read(self, *, fresh: bool) -> Fetched | None:
        """Always the whole set: what changed in a folder is not known."""
        return Fetched(await asyncio.to_thread(load_bundle, self._path))


class Checkout:
    """The policies of one ref of a Git repository on this machine."""

    def __init__(self, bundle: PolicyBundle) -> None:
        assert bundle.git is not None
        self.poll_seconds = bundle.poll_seconds
        self._repository, self._ref, self._folder = bundle.git, bundle.ref, bundle.folder
        self._commit = ""

    @property
    def place(self) -> str:
        folder = f" {self._folder}" if self._folder else ""
        return f"{self._repository} at {self._ref}{folder}"

    async def read(self, *, fresh: bool) -> Fetched | None:
        commit = (
            await self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{self._ref}^{{commit}}")
        ).decode()
        commit = commit.strip()
        if commit == self._commit and not fresh:
            return None
        listing = await self._git("ls-tree", "-r", "-z", "--long", f"{commit}:{self._folder}")
        rows = [row for entry in listing.decode(errors="replace").split("\0") if entry and (row := _tree_row(entry))]
        if len(rows) > FILES_MAX or any(size > FILE_BYTES_MAX for _, _, size in rows):
            raise _unusable(self.place, f"more than {FILES_MAX} files, or one above {FILE_BYTES_MAX} bytes")
        contents = await self._git("cat-file", "--batch", given="".join(f"{blob}\n" for _, blob, _ in rows).encode())
        bundle = read_bundle(self.place, zip((name for name, _, _ in rows), _blobs(contents, len(rows)), strict=True))
        self._commit = commit
        return Fetched(bundle, commit)

    async def _git(self, *arguments: str, given: bytes = b"") -> bytes:
        command = ["git", "--no-replace-objects", "-C", str(self._repository), *arguments]
        try:
            ended = await asyncio.to_thread(_run, command, given)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _unusable(self.place, f"git could not be run ({error})") from error
        if ended.returncode != 0:
            said = ended.stderr.decode(errors="replace").strip().splitlines()
            raise _unusable(self.place, f"git says: {said[0] if said else 'there is no such ref or folder'}")
        return ended.stdout


def _run(command: Sequence[str], given: bytes) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(command, input=given, capture_output=True, timeout=GIT_SECONDS_MAX, check=False)


def _tree_row(entry: str) -> tuple[str, str, int] | None:
    """Name, blob and size of a policy file in the tree."""
    head, _, name = entry.partition("\t")
    mode, _, blob, size = head.split()
    return (name, blob, int(size)) if mode in _REGULAR and belongs(name.rpartition("/")[2]) else None


def _blobs(contents: bytes, count: int) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    for _ in range(count):
        end = contents.index(b"\n", at)
        size = int(contents[at:end].split()[2])
        found.append(contents[end + 1 : end + 1 + size])
        at = end + 1 + size + 1
    return found


class BundleServer:
    """A bundle that is fetched again when the server says that it is another one."""

    def __init__(self, bundle: PolicyBundle) -> None:
        assert bundle.url is not None
        self.poll_seconds = bundle.poll_seconds
        self._url, self._token = bundle.url, bundle.token
        self._etag = ""

    @property
    def place(self) -> str:
        return self._url

    async def read(self, *, fresh: bool) -> Fetched | None:
        headers = {"Accept": "application/gzip"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.reveal()}"
        if self._etag and not fresh:
            headers["If-None-Match"] = self._etag
        try:
            fetched = await self._fetch(headers)
        except TimeoutError as error:
            raise _unusable(self.place, f"the server took longer than {FETCH_SECONDS_MAX:g} seconds") from error
        except aiohttp.ClientError as error:
            raise _unusable(self.place, f"the server cannot be reached ({error})") from error
        if fetched is None:
            return None
        content, etag = fetched
        read = await asyncio.to_thread(unpack, content, self.place)
        self._etag = etag
        return read

    async def _fetch(self, headers: Mapping[str, str]) -> tuple[bytes, str] | None:
        timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS_MAX)
        async with aiohttp.request("GET", self._url, headers=headers, timeout=timeout, auto_decompress=False) as answer:
            if answer.status == 304:
                return None
            if answer.status != 200:
                raise _unusable(self.place, f"the server answered {answer.status}")
            content = bytearray()
            async for piece in answer.content.iter_any():
                content += piece
                if len(content) > BUNDLE_BYTES_MAX:
                    raise _unusable(self.place, f"it is larger than {BUNDLE_BYTES_MAX} bytes")
            return bytes(content), answer.headers.get("ETag", "")


def unpack(content: bytes, place: str) -> Fetched:
    """The policy set in a gzipped tar. Raises `GatewayError`."""
    try:
        unzipped = zlib.decompressobj(_GZIP_WINDOW).decompress(content, UNPACKED_BYTES_MAX + 1)
        if len(unzipped) > UNPACKED_BYTES_MAX:
            raise _unusable(place, f"unpacked it is larger than {UNPACKED_BYTES_MAX} bytes")
        files = _members(unzipped, place)
    except (zlib.error, tarfile.TarError, ValueError) as error:
        raise _unusable(place, f"it is no gzipped tar ({error})") from error
    version = _manifest_revision(files.pop(MANIFEST, b"{}"))
    return Fetched(read_bundle(place, files.items()), version)


def _members(unzipped: bytes, place: str) -> dict[str, bytes]:
    """What a file takes in memory is bounded by what came: a sparse one is not."""
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(unzipped), mode="r:") as archive:
        for member in archive:
            name = member.name.removeprefix("./").lstrip("/")
            if member.issparse() or len(found) > FILES_MAX:
                raise _unusable(place, f"it holds a sparse file, or more than {FILES_MAX} files")
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None and (name == MANIFEST or belongs(name.rpartition("/")[2])):
                found[name] = file.read(FILE_BYTES_MAX + 1)
    return found


def _manifest_revision(manifest: bytes) -> str:
    try:
        read: object = json.loads(manifest)
    except ValueError:
        return ""
    revision = cast("dict[str, Any]", read).get("revision") if isinstance(read, dict) else None
    return revision if isinstance(revision, str) else ""


def _unusable(place: str, why: str) -> GatewayError:
    return GatewayError(Reason.POLICY_FAILED, f"no policies could be read from {place}: {why}")
