"""One fixture: the chart with the real helm, or the reason why there is none."""

import os
import shutil

import pytest

from tests.helm.chart import Chart


def program(variable: str, name: str) -> str:
    """Path of a program that these tests need. Skips, or fails where it must be there."""
    found = os.environ.get(variable) or shutil.which(name)
    if found is None:
        missing = f"{name} was not found; scripts/chart builds it and runs these tests"
        if os.environ.get("RINGFENCE_REQUIRE_HELM") == "1":
            pytest.fail(f"RINGFENCE_REQUIRE_HELM=1, but {missing}", pytrace=False)
        pytest.skip(missing)
    return found


@pytest.fixture(scope="session")
def chart() -> Chart:
    """The chart of the repository."""
    return Chart(program("RINGFENCE_HELM", "helm"))


@pytest.fixture(scope="session")
def validator() -> str:
    """The command that checks manifests against the schemas of Kubernetes."""
    return program("RINGFENCE_KUBERNETES_VALIDATE", "kubernetes-validate")
