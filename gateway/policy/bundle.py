"""The files of a policy directory, read once: what was checked is what is served. No evaluation, no settings."""

from collections.abc import Mapping
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
            parts = PurePosixPath(name).parts
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
    names = sorted(one for one in path.rglob("*") if one.suffix in _SUFFIXES and one.is_file())
    if len(names) > FILES_MAX:
        raise GatewayError(Reason.POLICY_FAILED, f"{path} holds {len(names)} policy files; the limit is {FILES_MAX}")
    try:
        return Bundle({one.relative_to(path).as_posix(): _read(one) for one in names})
    except (OSError, UnicodeDecodeError) as error:
        raise GatewayError(Reason.POLICY_FAILED, f"the policies under {path} cannot be read: {error}") from error


def _read(path: Path) -> str:
    if path.stat().st_size > FILE_BYTES_MAX:
        raise OSError(f"{path} is larger than {FILE_BYTES_MAX} bytes")
    return path.read_text(encoding="utf-8")
