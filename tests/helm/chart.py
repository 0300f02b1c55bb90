"""The chart as the real helm renders it. Knows no expectation: those are in the tests."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from gateway import __version__

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "ringfence"
HELM_SECONDS_MAX = 30
KUBERNETES_MIN = "1.30.0"
"""What Chart.yaml asks for. A helm without a cluster would go by whatever it was built with."""

Manifest = dict[str, Any]


class Refused(Exception):
    """Helm did not render; its message."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What one rendering gave: the text as helm wrote it, and its manifests."""

    text: str

    @property
    def manifests(self) -> list[Manifest]:
        """In helm's order of installation."""
        return [cast(Manifest, each) for each in yaml.safe_load_all(self.text) if each]

    def of_kind(self, kind: str) -> list[Manifest]:
        """All manifests of a kind."""
        return [each for each in self.manifests if each["kind"] == kind]

    def one(self, kind: str, suffix: str = "ringfence") -> Manifest:
        """The only manifest of a kind whose name ends so."""
        (found,) = [each for each in self.of_kind(kind) if each["metadata"]["name"].endswith(suffix)]
        return found

    @property
    def pod(self) -> Manifest:
        """The template of the gateway's pods."""
        return self.of_kind("Deployment")[0]["spec"]["template"]

    @property
    def gateway(self) -> Manifest:
        """The gateway's container."""
        (found,) = self.pod["spec"]["containers"]
        return found

    @property
    def config_text(self) -> str:
        """The gateway's configuration file."""
        name = next(each["configMap"]["name"] for each in self.pod["spec"]["volumes"] if each["name"] == "config")
        return self.one("ConfigMap", name)["data"]["ringfence.yaml"]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart's folder, and the helm that renders it."""

    helm: str
    folder: Path = CHART

    def values(self, name: str) -> Path:
        """A file of values that the chart is checked with."""
        return self.folder / "ci" / f"{name}-values.yaml"

    def run(self, *arguments: str | Path) -> str:
        """Helm's stdout. Raises `Refused` with its stderr and stdout."""
        command = [self.helm, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=HELM_SECONDS_MAX, check=False)
        if done.returncode != 0:
            raise Refused(done.stderr + done.stdout)
        return done.stdout

    def render(self, name: str | None = "minimal", *settings: str) -> Rendered:
        """With one of the chart's own files of values, and `key=value` settings laid over it."""
        arguments: list[str | Path] = [] if name is None else ["--values", self.values(name)]
        for setting in settings:
            arguments += ["--set-json", setting]
        return Rendered(self.run("template", "r", self.folder, "--kube-version", KUBERNETES_MIN, *arguments))

    def refusal(self, name: str | None = "minimal", *settings: str) -> str:
        """Why helm does not render it."""
        try:
            self.render(name, *settings)
        except Refused as refused:
            return str(refused)
        raise AssertionError(f"helm rendered {name} with {settings}")

    def copied_to(self, folder: Path) -> "Chart":
        """A copy whose files a test may change."""
        shutil.copytree(self.folder, folder)
        return Chart(self.helm, folder)


def package_version() -> str:
    """The version of the gateway."""
    return __version__
