"""Running the tests of the rules."""

import json
from pathlib import Path

import pytest

from gateway.commands.output import EXIT_DONE, EXIT_FAILED
from gateway.commands.policies import run_tests
from gateway.config import Policy
from gateway.errors import GatewayError


def test_packaged_policies_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tests(Policy().folder, {}, as_json=True) == EXIT_DONE
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] and said["passed"] > 0 and said["failed"] == 0


def test_setting_that_does_not_exist_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tests(Policy().folder, {"no_such": 1}, as_json=False) == EXIT_FAILED
    assert "no_such" in capsys.readouterr().out


def test_folder_without_policies_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match="holds no policies"):
        run_tests(tmp_path, {}, as_json=True)
