"""A folder does not let anybody out: by `..`, links, odd names, other kinds of files, mounts, or swaps meanwhile."""

import contextlib
import errno
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.tools.beneath import DEPTH_MAX, Folder
from runtime.tools.refusal import Refused
from tests.support.swapping import swapping

ROOT = Path(__file__).parents[3]
SECRET = "kept outside"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder `in`, and beside it what it must not show."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "file").write_text("inside")
    (tmp_path / "in" / "sub" / "deep").write_text("inside")
    (tmp_path / "outside").write_text(SECRET)
    return tmp_path.resolve() / "in"


def read(place: Path, path: str) -> str:
    with contextlib.closing(Folder(str(place))) as folder, folder.locate(path) as spot:
        with os.fdopen(folder.open_file(spot)) as file:
            return file.read()


@pytest.mark.parametrize("path", ["file", "./file", "sub/../file", "sub//deep", "sub/./deep", "sub/../sub/deep"])
def test_path_inside_is_walked(place: Path, path: str) -> None:
    assert read(place, path) == "inside"
    assert read(place, f"{place}/{path}") == "inside"


@pytest.mark.parametrize(
    "path", ["..", "../outside", "sub/../../outside", "sub/../../in/file", "/etc/passwd", "/", "//"]
)
def test_path_outside_is_refused(place: Path, path: str) -> None:
    with pytest.raises(Refused, match="outside|leads out"):
        read(place, path)


def test_folder_whose_name_only_begins_alike_is_outside(place: Path) -> None:
    (place.parent / "inner").mkdir()
    (place.parent / "inner" / "file").write_text(SECRET)
    with pytest.raises(Refused, match="outside"):
        read(place, str(place.parent / "inner" / "file"))


@pytest.mark.parametrize(
    "target", ["../outside", "/etc/passwd", "sub/../../outside", "/proc/self/environ", "/proc/self/root/etc/passwd"]
)
def test_link_that_leads_out_is_refused_and_named(place: Path, target: str) -> None:
    (place / "link").symlink_to(target)
    with pytest.raises(Refused, match="link"):
        read(place, "link")


def test_link_to_an_outer_directory_is_refused_on_the_way(place: Path) -> None:
    (place / "up").symlink_to("..")
    with pytest.raises(Refused, match="up, a link to .., leads out|leads out"):
        read(place, "up/outside")


def test_links_that_stay_inside_are_followed(place: Path) -> None:
    (place / "relative").symlink_to("sub/deep")
    (place / "absolute").symlink_to(place / "sub")
    (place / "sub" / "back").symlink_to("../file")
    assert [read(place, path) for path in ("relative", "absolute/deep", "absolute/back")] == ["inside"] * 3


def test_canonical_names_of_a_linked_path_have_no_links(place: Path) -> None:
    (place / "alias").symlink_to("sub")
    with contextlib.closing(Folder(str(place))) as folder, folder.locate("alias/new") as spot:
        assert (spot.parts, spot.status) == (("sub", "new"), None)


def test_links_in_a_circle_are_refused(place: Path) -> None:
    (place / "one").symlink_to("two")
    (place / "two").symlink_to("one")
    with pytest.raises(Refused, match="links"):
        read(place, "one")


@pytest.mark.parametrize(
    ("path", "match"),
    [
        ("nothing", "no file"),
        ("nothing/file", "no directory"),
        ("file/under", "not a directory"),
        ("a\0b", "NUL"),
        ("\ud800", "surrogate"),
        ("x/" * 2100, "longer"),
        ("sub", "is a directory"),
        (".", "is a directory"),
    ],
    ids=["missing", "missing-directory", "under-a-file", "nul", "surrogate", "too-long", "directory", "folder"],
)
def test_path_that_names_no_file_is_refused_with_the_reason(place: Path, path: str, match: str) -> None:
    with pytest.raises(Refused, match=match):
        read(place, path)


def test_name_that_is_too_long_is_an_error_of_the_system(place: Path) -> None:
    with pytest.raises(OSError, match="too long"):
        read(place, "n" * 300)


def test_names_of_any_script_are_walked(place: Path) -> None:
    for name in ("naïve", "нет", "空", "🙂 \n'\"", "%2e%2e", "\udcff"):
        (place / name).write_text("inside")
        assert read(place, name) == "inside"


def test_more_directories_than_the_limit_are_refused(place: Path) -> None:
    with contextlib.closing(Folder(str(place))) as folder:
        with pytest.raises(Refused, match="deep"), folder.locate("d/" * (DEPTH_MAX + 1) + "file", make=True):
            pass


def test_descriptors_are_closed_after_a_refusal(place: Path) -> None:
    (place / "link").symlink_to("../outside")
    before = len(os.listdir("/proc/self/fd"))
    for path in ("link", "sub/nothing/x", "../x", "sub/deep/x"):
        with pytest.raises(Refused):
            read(place, path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_hard_link_is_refused(place: Path) -> None:
    os.link(place.parent / "outside", place / "hard")
    with pytest.raises(Refused, match="hard links"):
        read(place, "hard")


def test_pipe_is_refused_and_not_waited_for(place: Path) -> None:
    os.mkfifo(place / "pipe")
    with pytest.raises(Refused, match="ordinary"):
        read(place, "pipe")


def test_socket_is_refused() -> None:
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{directory}/socket")
        with pytest.raises(Refused, match="ordinary"):
            read(Path(os.path.realpath(directory)), "socket")


def test_link_as_the_folder_itself_is_not_opened(place: Path) -> None:
    (place.parent / "alias").symlink_to(place)
    with pytest.raises(OSError):
        Folder(str(place.parent / "alias"))


def test_closed_folder_refuses_new_walks(place: Path) -> None:
    folder = Folder(str(place))
    folder.close()
    folder.close()
    with pytest.raises(Refused, match="no longer open"), folder.locate("file"):
        pass


def test_directories_are_made_only_when_asked_and_never_protected_ones(place: Path) -> None:
    with contextlib.closing(Folder(str(place))) as folder:
        with folder.locate("a/b/c", make=True) as spot:
            assert (spot.parts, spot.status) == (("a", "b", "c"), None)
        with pytest.raises(Refused, match="cannot be written"), folder.locate(".git/hooks/pre-commit", make=True):
            pass
    assert sorted(path.name for path in place.iterdir()) == ["a", "file", "sub"]


MOUNTED = """
import os, sys
sys.path.insert(0, sys.argv[2])
from runtime.tools.beneath import Folder
from runtime.tools.refusal import Refused
folder = Folder(sys.argv[1])
for path in ("other/file", "bound/deep", "single"):
    try:
        with folder.locate(path) as spot:
            os.close(folder.open_file(spot))
            print("read")
    except Refused as refusal:
        print("mounted" if "mounted inside" in str(refusal) else refusal)
"""


def test_what_is_mounted_in_the_folder_is_refused(place: Path) -> None:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-Urm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounts cannot be made here: user namespaces are off")
    (place / "other").mkdir()
    (place / "bound").mkdir()
    (place / "single").touch()
    script = (
        'cd "$1" && mount -t tmpfs none other && echo x >other/file && mount --bind sub bound && '
        'mount --bind ../outside single && exec "$2" -c "$3" "$1" "$4"'
    )
    told = subprocess.run(
        [unshare, "-Urm", "sh", "-c", script, "sh", str(place), sys.executable, MOUNTED, str(ROOT)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines() == ["mounted"] * 3


def lay_trap(place: Path) -> None:
    """`moving` in the folder, and `trap`, a link to a directory outside that looks the same."""
    (place.parent / "elsewhere").mkdir()
    (place.parent / "elsewhere" / "target").write_text(SECRET)
    (place / "moving").mkdir()
    (place / "moving" / "target").write_text("inside")
    (place / "trap").symlink_to(place.parent / "elsewhere")


def test_directory_swapped_for_a_link_meanwhile_never_leads_out(place: Path) -> None:
    lay_trap(place)
    seen: list[str] = []
    with swapping(place, "moving", "trap"):
        for _ in range(4_000):
            try:
                seen.append(read(place, "moving/target"))
            except Refused as refusal:
                assert "leads out" in str(refusal)
    assert set(seen) <= {"inside"}


def test_file_swapped_for_a_link_meanwhile_never_leads_out(place: Path) -> None:
    (place / "trap").symlink_to("../outside")
    seen: list[str] = []
    with swapping(place, "file", "trap"):
        for _ in range(4_000):
            try:
                seen.append(read(place, "file"))
            except Refused as refusal:
                assert "leads out" in str(refusal)
            except OSError as error:
                assert error.errno == errno.ELOOP
    assert set(seen) <= {"inside"}


NAMES = st.sampled_from(["a", "b", "c", "..", ".", "", "in", "link0", "link1", "link2", "file"])
PATHS = st.lists(NAMES, min_size=1, max_size=6).map("/".join)


@given(paths=st.lists(PATHS, min_size=1, max_size=4), targets=st.lists(PATHS, min_size=3, max_size=3), data=st.data())
def test_any_walk_ends_inside_or_is_refused_as_the_system_resolves_it(
    paths: list[str], targets: list[str], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(os.path.realpath(scratch)) / "in"
        (place / "a" / "b").mkdir(parents=True)
        (place / "c").mkdir()
        (place / "a" / "file").write_text("inside")
        (place.parent / "file").write_text(SECRET)
        for number, target in enumerate(targets):
            absolute = data.draw(st.booleans())
            home = data.draw(st.sampled_from([place, place / "a", place / "c"]))
            (home / f"link{number}").symlink_to(f"{place}/{target}" if absolute else target or ".")
        with contextlib.closing(Folder(str(place))) as folder:
            for path in paths:
                path = path.lstrip("/") or "."
                try:
                    with folder.locate(path) as spot:
                        found = place.joinpath(*spot.parts)
                except (Refused, OSError):
                    continue
                assert os.path.realpath(place / path) == str(found)
                assert found == place or place in found.parents
