"""Commands run in a sandbox that holds: no network, no way to other files, no processes that stay, bounded in time."""

import asyncio
import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.tools.beneath import Folder
from runtime.tools.bubblewrap import NoSandbox, Ran, find_bubblewrap
from runtime.tools.output import OUTPUT_CHARS_MAX
from tests.support.bubblewrap import bubblewrap_or_skip
from tests.support.repositories import git, make_repository


async def run(place: Path, command: str, *, seconds: float = 20) -> Ran:
    bubblewrap = await bubblewrap_or_skip()
    with contextlib.closing(Folder(str(place.resolve()))) as folder:
        return await bubblewrap.run(folder, command, seconds=seconds, idempotency_key="wf_abcdef/3/1")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder, beside it a secret."""
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_text("kept outside")
    return tmp_path / "in"


async def test_no_bwrap_on_the_path_is_the_reason(tmp_path: Path) -> None:
    found = await find_bubblewrap(str(tmp_path))
    assert isinstance(found, NoSandbox)
    assert "no bwrap on PATH" in found.reason


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("#!/bin/sh\necho 'No permissions to create a new namespace' >&2; exit 1\n", "No permissions to create"),
        ("#!/bin/sh\nexit 3\n", "it says nothing"),
        ("no program", "does not work here"),
    ],
    ids=["namespaces-off", "silent", "no-program"],
)
async def test_bwrap_that_cannot_make_a_sandbox_is_no_sandbox(tmp_path: Path, script: str, said: str) -> None:
    (tmp_path / "bwrap").write_text(script)
    (tmp_path / "bwrap").chmod(0o755)
    found = await find_bubblewrap(str(tmp_path))
    assert isinstance(found, NoSandbox)
    assert said in found.reason


async def test_command_works_in_the_folder(place: Path) -> None:
    ran = await run(place, "pwd; echo made > file; echo to stderr >&2")
    assert ran == Ran(0, f"{place.resolve()}\nto stderr")
    assert (place / "file").read_text() == "made\n"


async def test_exit_code_is_told(place: Path) -> None:
    assert await run(place, "echo said; exit 7") == Ran(7, "said")
    assert (await run(place, "syntax (")).code == 2


async def test_w58_idempotency_key_is_handed_to_commands(place: Path) -> None:
    assert await run(place, 'echo "$RINGFENCE_IDEMPOTENCY_KEY"') == Ran(0, "wf_abcdef/3/1")


async def test_environment_holds_nothing_of_the_gateway(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret")
    ran = await run(place, "env; cat /proc/*/environ | tr '\\0' '\\n'")
    assert "sk-secret" not in ran.text
    assert {line.partition("=")[0] for line in ran.text.splitlines()} <= {
        *("PATH", "HOME", "LANG", "TERM", "TMPDIR", "PWD", "RINGFENCE_IDEMPOTENCY_KEY", "SHLVL", "_", "OLDPWD"),
    }


async def test_files_outside_are_not_there(place: Path) -> None:
    ran = await run(place, "cat ../secret; ls ..; ls /home /root /var /run /sys /opt /mnt; ls /etc/shadow")
    assert "kept outside" not in ran.text
    assert ran.text.count("No such file or directory") == 9


async def test_link_that_leads_out_leads_nowhere(place: Path) -> None:
    (place / "link").symlink_to("../secret")
    ran = await run(place, "cat link")
    assert (ran.code, "No such file" in ran.text) == (1, True)


@pytest.mark.parametrize("path", ["/usr/x", "/etc/x", "/x", "/dev/x", "/proc/sys/kernel/hostname"])
async def test_nothing_but_the_folder_and_tmp_can_be_written(place: Path, path: str) -> None:
    ran = await run(place, f"echo x > {path}")
    assert (ran.code, "Read-only file system" in ran.text or "No such file" in ran.text) == (1, True)


async def test_what_is_written_beside_the_folder_goes_nowhere(place: Path) -> None:
    await run(place, "echo x > ../x; echo x > ../secret")
    assert (place.parent / "secret").read_text() == "kept outside"
    assert not (place.parent / "x").exists()


async def test_tmp_is_private_and_gone_afterwards(place: Path) -> None:
    assert (await run(place, "echo x > /tmp/kept && echo x > $HOME/kept && cat /tmp/kept")).text == "x"
    assert (await run(place, "cat /tmp/kept")).code == 1


async def test_network_is_not_there(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ran = await run(place, f"exec 3<>/dev/tcp/127.0.0.1/{port}")
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()
    assert (ran.code, "refused" in ran.text or "unreachable" in ran.text) == (1, True)


async def test_abstract_sockets_of_the_system_are_not_there(place: Path) -> None:
    name = f"ringfence-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        script = f"import socket; socket.socket(socket.AF_UNIX).connect(chr(0) + {name!r})"
        ran = await run(place, f"command -v python3 >/dev/null || exit 9; python3 -c {shlex.quote(script)}")
    if ran.code == 9:
        pytest.skip("no python3 in the system directories")
    assert "ConnectionRefusedError" in ran.text


async def test_capabilities_and_further_namespaces_are_gone(place: Path) -> None:
    ran = await run(place, "grep CapEff /proc/self/status; unshare -U true; mount -t tmpfs none /tmp")
    assert "CapEff:\t0000000000000000" in ran.text
    assert ran.code != 0


async def test_processes_of_the_system_are_not_seen(place: Path) -> None:
    ran = await run(place, f"kill -0 {os.getpid()}; ls -d /proc/[0-9]* | wc -l")
    assert "No such process" in ran.text
    assert int(ran.text.split()[-1]) < 10


async def test_descriptors_of_the_gateway_are_not_handed_on(place: Path) -> None:
    with open(place.parent / "secret") as secret:
        os.set_inheritable(secret.fileno(), True)
        ran = await run(place, f"ls -l /proc/self/fd; cat <&{secret.fileno()}")
    assert "secret" not in ran.text and "kept outside" not in ran.text


@pytest.mark.parametrize(
    "command",
    [
        "echo x > .git/hooks/pre-commit",
        "echo x > .git/config",
        "rm -rf .git/objects",
        "mv .git away && mkdir -p .git/hooks",
        "chmod -x .git && echo x > .git/new",
        "mkdir -p .claude/agents && echo x > .claude/agents/reviewer.md",
        "echo '{}' > .claude/settings.json",
        "mv .claude away && mkdir .claude",
        "rmdir .claude && ln -s /tmp .claude",
        "mount -o remount,rw .git && echo x > .git/config",
    ],
)
async def test_w146_settings_and_git_internals_cannot_be_written(place: Path, command: str) -> None:
    await asyncio.to_thread(subprocess.run, ["git", "init", "-q"], cwd=place, check=True)
    before = sorted(path.name for path in (place / ".git").rglob("*"))
    assert (await run(place, command)).code != 0
    assert sorted(path.name for path in (place / ".git").rglob("*")) == before
    assert list((place / ".claude").iterdir()) == []


async def test_w146_folder_of_a_repository_cannot_be_made_one_that_its_owner_believes(tmp_path: Path) -> None:
    folder = make_repository(tmp_path / "repository") / "sub"
    plant = f"git init -q . ; mkdir .git; git config core.fsmonitor 'touch {tmp_path}/ran'; ln -s /tmp .git/objects"
    await run(folder, plant)
    await asyncio.to_thread(git, folder, "status")
    assert not (tmp_path / "ran").exists() and list((folder / ".git").iterdir()) == []
    assert await asyncio.to_thread(git, folder, "rev-parse", "--show-prefix") == "sub/"


async def test_git_can_be_asked(place: Path) -> None:
    if shutil.which("git", path="/usr/bin:/bin") is None:
        pytest.skip("no git in the system directories")
    await asyncio.to_thread(subprocess.run, ["git", "init", "-q"], cwd=place, check=True)
    (place / "new").touch()
    assert await run(place, "git status --porcelain") == Ran(0, "?? new")


async def test_command_over_its_time_ends_with_what_it_said(place: Path) -> None:
    ran = await run(place, "echo begun; sleep 600", seconds=0.5)
    assert ran == Ran(None, "begun")


def processes(mark: str) -> list[str]:
    found: list[str] = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and mark in (process / "cmdline").read_text():
                found.append(process.name)
    return found


@pytest.mark.parametrize(
    "command",
    ["sleep {}", "setsid sleep {} & wait", "trap '' TERM INT HUP; sleep {}", "(sleep {} >/dev/null &) ; sleep {}"],
)
async def test_nothing_stays_when_the_time_is_up(place: Path, command: str) -> None:
    mark = f"{600 + os.getpid() / 1e7:.7f}"
    ran = await run(place, command.replace("{}", mark), seconds=0.4)
    assert (ran.code, processes(mark)) == (None, [])


async def test_what_runs_in_the_background_ends_with_the_command(place: Path) -> None:
    mark = f"{700 + os.getpid() / 1e7:.7f}"
    ran = await run(place, f"sleep {mark} & disown; echo done")
    assert (ran, processes(mark)) == (Ran(0, "done"), [])


async def test_nothing_stays_when_it_is_cancelled(place: Path) -> None:
    mark = f"{800 + os.getpid() / 1e7:.7f}"
    os.mkfifo(place / "begun")
    bubblewrap = await bubblewrap_or_skip()
    with contextlib.closing(Folder(str(place.resolve()))) as folder:
        task = asyncio.ensure_future(
            bubblewrap.run(folder, f"sleep {mark} & echo > begun; wait", seconds=60, idempotency_key="key")
        )
        await asyncio.to_thread((place / "begun").read_bytes)
        assert processes(mark) != []
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert processes(mark) == []


async def test_flood_of_output_is_bounded(place: Path) -> None:
    ran = await run(place, "echo begin; head -c 50000000 /dev/zero | tr '\\0' x; echo; echo end")
    assert (ran.text[:5], ran.text[-3:]) == ("begin", "end")
    assert len(ran.text) < OUTPUT_CHARS_MAX + 100


async def test_endless_output_ends_with_its_time(place: Path) -> None:
    ran = await run(place, "yes", seconds=0.3)
    assert ran.code is None
    assert len(ran.text) < OUTPUT_CHARS_MAX + 100


LIMITS = {"-c": "0", "-u": "1024", "-n": "1024", "-d": "4194304", "-f": "2097152"}


@pytest.mark.parametrize("limit", LIMITS)
async def test_limit_cannot_be_raised(place: Path, limit: str) -> None:
    ran = await run(place, f"ulimit -H {limit}; ulimit {limit} unlimited 2>/dev/null || echo kept")
    assert ran.text.split() == [LIMITS[limit], "kept"]


async def test_tmp_has_an_end(place: Path) -> None:
    ran = await run(place, "df -B1 --output=size /tmp /dev/shm | tail -n +2")
    assert [int(size) for size in ran.text.split()] == [1 << 30, 1 << 28]


async def test_processes_have_an_end(place: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("the kernel does not count processes of root")
    ran = await run(place, "for i in $(seq 2000); do sleep 5 & done; wait", seconds=3)
    assert "Resource temporarily unavailable" in ran.text


MOUNTED = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from runtime.tools.beneath import Folder
from runtime.tools.bubblewrap import find_bubblewrap
async def main():
    bubblewrap = await find_bubblewrap()
    ran = await bubblewrap.run(
        Folder(sys.argv[1]), "ls 'other one'; cat single; echo end", seconds=20, idempotency_key="key"
    )
    print(ran.text)
asyncio.run(main())
"""


async def test_what_is_mounted_in_the_folder_is_hidden(place: Path) -> None:
    await bubblewrap_or_skip()
    (place / "other one").mkdir()
    (place / "single").touch()
    script = (
        "cd \"$1\" && mount -t tmpfs none 'other one' && echo x >'other one/file' && "
        'mount --bind ../secret single && exec "$2" -c "$3" "$1" "$4"'
    )
    told = await asyncio.to_thread(
        subprocess.run,
        ["unshare", "-Urm", "sh", "-c", script]
        + ["sh", str(place.resolve()), sys.executable, MOUNTED, str(Path(__file__).parents[3])],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "cat: single: Permission denied\nend\n"


@contextlib.contextmanager
def replaced(place: Path) -> Iterator[None]:
    """The folder is moved away, and a link to what is beside it put in its place."""
    place.rename(place.parent / "moved")
    place.symlink_to(place.parent)
    yield


async def test_folder_that_was_swapped_is_still_the_one_that_was_opened(place: Path) -> None:
    bubblewrap = await bubblewrap_or_skip()
    (place / "mine").touch()
    with contextlib.closing(Folder(str(place.resolve()))) as folder, replaced(place):
        ran = await bubblewrap.run(folder, "ls", seconds=20, idempotency_key="key")
    assert "secret" not in ran.text
