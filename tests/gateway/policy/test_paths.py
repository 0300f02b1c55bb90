"""Normalisation of paths as text, and what lies in the workspace."""

import pytest

from gateway.policy.paths import PATH_CHARS_MAX, follow, is_inside, normalise, path_use


@pytest.mark.parametrize(
    ("path", "cwd", "expected"),
    [
        ("a", "", "a"),
        ("", "", "."),
        ("./a//b/../c/", "", "a/c"),
        ("a/..", "", "."),
        ("../a", "", "../a"),
        ("a/../../b", "", "../b"),
        ("/a/../../b", "", "/b"),
        ("/", "", "/"),
        ("//", "", "/"),
        ("~", "", "~"),
        ("~/a/../b", "", "~/b"),
        ("~/..", "", "~/.."),
        ("a", "/w", "/w/a"),
        ("../a", "b", "a"),
        ("/a", "b", "/a"),
        ("~/a", "b", "~/a"),
        ("/proc/self/root/etc/x", "", "/etc/x"),
        ("/proc/1/root", "", "/"),
        ("/proc/thread-self/root/a", "", "/a"),
    ],
)
def test_path_is_written_in_its_shortest_form(path: str, cwd: str, expected: str) -> None:
    assert normalise(path, cwd) == expected


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("a", True),
        (".", True),
        ("..", False),
        ("/home/a/w", True),
        ("/home/a/w/x", True),
        ("/home/a/wx", False),
        ("/home/a", False),
        ("~/w/x", True),
        ("~/x", False),
        ("~other/w", False),
        ("/proc/self/cwd/x", False),
        ("/dev/fd/3", False),
        ("\ufffd/x", None),
        ("/\ufffd", None),
        ("a/\ufffd", True),
        ("/etc/\ufffd", False),
        ("x" * PATH_CHARS_MAX, False),
    ],
)
def test_path_lies_inside_by_whole_parts(path: str, inside: bool | None) -> None:
    assert is_inside(path, "/home/a/w") is inside


def test_unknown_workspace_leaves_absolute_paths_untold() -> None:
    assert is_inside("/home/a/w/x", None) is None
    assert is_inside("a", None) is True and is_inside("../a", None) is False


def test_path_that_climbs_out_is_made_absolute() -> None:
    assert path_use("../w/x", "write", "/home/a/w").path == "/home/a/w/x"
    assert path_use("../y", "read", "/home/a/w").inside_workspace is False


def test_links_of_the_same_line_are_followed() -> None:
    assert follow("e/passwd", {"e": "/etc"}) == "/etc/passwd"
    assert follow("ex/passwd", {"e": "/etc"}) == "ex/passwd"
    assert follow("a", {"a": "a"}) == "a"
