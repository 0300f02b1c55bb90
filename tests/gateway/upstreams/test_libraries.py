"""A library that is not installed is named with what to install; a fault of our own is not mistaken for that."""

from importlib import import_module

import pytest

from gateway.config import UpstreamConfig
from gateway.errors import GatewayError, Reason
from gateway.upstreams.libraries import library_of


def test_missing_library_names_the_upstream_and_the_extra() -> None:
    with pytest.raises(GatewayError) as failure, library_of(UpstreamConfig(id="west", backend="bedrock")):
        import_module("no_such_cloud.session")
    assert failure.value.reason is Reason.UPSTREAM_UNREACHABLE
    assert "'west' (backend bedrock)" in failure.value.message
    assert "(no_such_cloud)" in failure.value.message
    assert "pip install 'ringfence[bedrock]'" in failure.value.message


def test_library_that_lacks_one_of_its_own_is_named_in_its_words() -> None:
    with pytest.raises(GatewayError, match=r"needs requests.*ringfence\[vertex\]"):
        with library_of(UpstreamConfig(id="west", backend="vertex")):
            raise ImportError("needs requests")


def test_module_of_ours_that_is_missing_is_no_missing_library() -> None:
    with pytest.raises(ModuleNotFoundError), library_of(UpstreamConfig(id="west", backend="bedrock")):
        import_module("gateway.no_such_module")


def test_backend_without_an_extra_hides_no_fault() -> None:
    with pytest.raises(ModuleNotFoundError), library_of(UpstreamConfig(id="west", backend="anthropic")):
        import_module("no_such_library")
