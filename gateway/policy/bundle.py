"""The files of a policy directory, read once: what was checked is what is served. No evaluation, no settings."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gateway.errors import GatewayError, Reason

FILES_MAX = 2000
FILE_BYTES_MAX = 1024 * 1024
DEFAULTS_FILE = "data/defaults.yaml"
MAIN_FILE = "main.rego"
_SUFFIXES = frozenset({".rego", ".json", ".yaml", ".md"})


@dataclass(frozen=True, slots=True)
class Bundle:
    """Texts by their path below the policy directory, in order of path."""

    files: Mapping[str, str]

    @property
    def modules(self) -> dict[str, str]:
        """The Rego modules that serve."""
        return {name: text for name, text in self.files.items() if name.endswith(".rego") and not is_test(name)}

    @property
    def tests(self) -> dict[str, str]:
        """The Rego modules that hold tests."""
        return {name: text for name, text in self.files.items() if is_test(name)}

    @property
    def rules(self) -> list[str]:
        """Names of the rules, `<category>/<rule>`, by their folders."""
        found: dict[str, None] = {}
        for name in self.files:
            parts = name.split("/")
            if len(parts) > 3 and parts[0] == "rules":
                found[f"{parts[1]}/{parts[2]}"] = None
        return list(found)


def is_test(name: str) -> bool:
    """Whether a file holds tests and does not serve."""
    return name.endswith("_test.rego")


def load_bundle(path: Path) -> Bundle:
    """Read the policy directory at `path`. Raises `GatewayError` when it cannot be read or holds no policies."""
    if not (path / MAIN_FILE).is_file():
        raise GatewayError(
            Reason.POLICY_FAILED,
            f"{path} holds no policies: {MAIN_FILE} is missing; set policy.path to a policy directory, or leave it out",
        )
    names = sorted(one for one in path.rglob("*") if belongs(one.name) and one.is_file())
    try:
        _check_count(str(path), len(names))
        return read_bundle(str(path), ((one.relative_to(path).as_posix(), _read(one)) for one in names))
    except OSError as error:
        raise _unreadable(str(path), error) from error


def belongs(name: str) -> bool:
    """Whether a file of this name is part of a policy set."""
    return PurePosixPath(name).suffix in _SUFFIXES


def read_bundle(place: str, files: Iterable[tuple[str, bytes]]) -> Bundle:
    """The bundle of files by their path below the policy directory. `place` says in messages where they came from.

    Raises `GatewayError` when they are too many, too large, not text, or no policies.
    """
    texts: dict[str, str] = {}
    for name, content in sorted(files):
        if len(content) > FILE_BYTES_MAX:
            raise _unreadable(place, f"{name} is larger than {FILE_BYTES_MAX} bytes")
        try:
            texts[name] = content.decode()
        except UnicodeDecodeError as error:
            raise _unreadable(place, f"{name}: {error}") from error
    _check_count(place, len(texts))
    if MAIN_FILE not in texts:
        raise GatewayError(Reason.POLICY_FAILED, f"{place} holds no policies: {MAIN_FILE} is missing at its top")
    return Bundle(texts)


def _check_count(place: str, count: int) -> None:
    if count > FILES_MAX:
        raise GatewayError(Reason.POLICY_FAILED, f"{place} holds {count} policy files; the limit is {FILES_MAX}")


def _unreadable(place: str, why: object) -> GatewayError:
    return GatewayError(Reason.POLICY_FAILED, f"the policies under {place} cannot be read: {why}")


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(FILE_BYTES_MAX + 1)
