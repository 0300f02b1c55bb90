"""What one command of a shell line reads, writes and reaches, by its program and arguments. Tables, no shell syntax.

Only contents count as read: a listing (`ls ~/.ssh`) is not. For a program that no table names, words that look like
a path (`./x`, `~/x`, `a/b`) count as read and whole URLs as reached. Reach: what a program does by itself is not
known.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from gateway.policy.hosts import hosts_of, is_url, remote_host
from gateway.policy.words import UNKNOWN


class Effect(NamedTuple):
    """One thing a command touches: a path as written, or a host in canonical form."""

    kind: Literal["read", "write", "host"]
    text: str


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_READS = _words(
    "cat tac less more most head tail cut sort uniq wc nl od xxd hexdump hd strings base64 base32 diff cmp comm "
    "join paste fold fmt column rev bat batcat view vim vi nvim nano emacs code pr zcat zless gunzip bunzip2 "
    "xzcat gzip md5sum sha1sum sha256sum shasum cksum source . iconv expand split csplit gpg age dos2unix "
    "tee rsync pbcopy xclip glow pygmentize"
)
_PATTERN_FIRST = _words("grep egrep fgrep zgrep rg ag ack sed awk gawk mawk nawk jq yq perl")
"""Readers whose first operand is a pattern or a program text."""
_WRITES = _words(
    "rm rmdir unlink shred truncate touch mkdir tee mkfifo mknod chmod chown chgrp chattr setfacl srm wipe"
)
_OWN_FIRST = _words("chmod chown chgrp chattr setfacl")
"""Writers whose first operand is a mode or an owner."""
_COPIES = _words("cp mv ln install rsync scp ditto gcp gmv")
_SILENT = _words(
    "echo printf ls dir tree stat test [ [[ file which type whereis find fd locate cd pushd popd pwd true false : "
    "sleep exit return export set unset alias kill ps top du df basename dirname realpath readlink mkdir git "
    "docker podman kubectl npm yarn pnpm make cargo go mvn gradle pytest brew apt apt-get gh glab helm terraform "
    "read sudo env xargs time timeout nice nohup command exec eval sh bash zsh dash ksh ash fish"
)
"""Programs whose operands say nothing of contents read, or whose inner commands are seen by themselves."""
_OPERAND_HOSTS = _words(
    "curl wget http https xh aria2c lynx w3m links elinks fetch axel httpie curlie grpcurl wscat websocat"
)
_BARE_HOSTS = _words(
    "nc ncat netcat telnet ping ping6 dig nslookup host traceroute tracepath mtr nmap whois ftp tftp sftp ssh "
    "mosh ssh-copy-id"
)
_FIND_TESTS = _words(
    "-name -iname -path -ipath -wholename -regex -iregex -empty -size -newer -mtime -mmin -ctime -atime -user"
)
"""Tests that choose some files; without one, `-delete` takes the whole tree."""
_CURL_VALUED = _words(
    "-X -H -d -u -A -e -b -c -F -T -x -K -o -m -r -w -z -C -E -D -t -Q -y -Y -P -U --request --header --data "
    "--data-raw --data-binary --data-urlencode --json --user --user-agent --referer --cookie --cookie-jar --form "
    "--upload-file --proxy --config --output --max-time --connect-timeout --range --write-out --cert --key "
    "--cacert --resolve --connect-to --retry --retry-delay --retry-max-time --limit-rate --output-dir "
    "--dump-header --interface --dns-servers --unix-socket --proxy-user --oauth2-bearer --form-string --url "
    "--url-query --aws-sigv4 --netrc-file --preproxy --socks5 --socks5-hostname"
)
_WGET_VALUED = _words(
    "-O -o -a -P -t -T -w -U -e -i --post-file --post-data --header --user --password --output-document"
)
_BARE_VALUED = _words("-p -P -w -c -i -o -l -b -F -J -L -R -D -t -W -s -I -q -m -x -e -X -O -E")
_HEAD_VALUED = _words("-n -c --lines --bytes -k -t -d -f -F -w -s")
_GREP_VALUED = _words(
    "-A -B -C -m -g -t -T -e --include --exclude --glob --type --regexp --max-count --color -d -D -j -F -v"
)


def effects(argv: Sequence[str]) -> list[Effect]:
    """What a command touches. `argv[0]` is the base name of the program."""
    if not argv:
        return []
    program, arguments = argv[0], argv[1:]
    found = list(_file_effects(program, arguments))
    found.extend(Effect("host", host) for host in _hosts(program, arguments))
    return found


def operands(arguments: Sequence[str], valued: frozenset[str] = frozenset()) -> list[str]:
    """The words that are not options, nor the values of the options in `valued`."""
    out: list[str] = []
    rest = iter(arguments)
    for word in rest:
        if word == "--":
            out.extend(rest)
        elif word.startswith("-") and len(word) > 1:
            if takes_next(word, valued):
                next(rest, None)
        else:
            out.append(word)
    return out


def takes_next(word: str, valued: frozenset[str]) -> bool:
    """Whether an option takes the next word; short ones may be run together, `-so`, and hold their value, `-XPOST`."""
    if word in valued or word.startswith("--"):
        return word in valued
    first = next((index for index, letter in enumerate(word[1:], 1) if f"-{letter}" in valued), 0)
    return first == len(word) - 1 and first > 0


def _file_effects(program: str, arguments: Sequence[str]) -> Iterator[Effect]:
    if program in _COPIES:
        yield from _copy(program, arguments)
    elif program in _PATTERN_FIRST:
        yield from _pattern_first(program, arguments)
    elif program in _WRITES:
        names = operands(arguments, _words("-m -s -r -d -t --mode --size --reference --date"))
        yield from (Effect("write", name) for name in names[program in _OWN_FIRST and _mode_is_operand(arguments) :])
    elif program in _READS:
        valued = _HEAD_VALUED | {"-o"} if program == "sort" else _HEAD_VALUED
        yield from (Effect("read", name) for name in operands(arguments, valued) if not name.startswith("+"))
        yield from _output_option(program, arguments)
    elif program in _SPECIAL:
        yield from _SPECIAL[program](arguments)
    elif program not in _SILENT and program not in _BARE_HOSTS:
        yield from (Effect("read", word) for word in operands(arguments) if _looks_like_path(word))
    if program in ("find", "gfind") and "-delete" in arguments:
        chosen = any(word in _FIND_TESTS for word in arguments)
        yield from (Effect("write", f"{root}/{UNKNOWN}" if chosen else root) for root in _find_roots(arguments))


def _mode_is_operand(arguments: Sequence[str]) -> bool:
    return not any(word.startswith("--reference") for word in arguments)


def _find_roots(arguments: Sequence[str]) -> list[str]:
    roots: list[str] = []
    for word in arguments:
        if word[:1] in ("-", "(", "!"):
            break
        roots.append(word)
    return roots or ["."]


def _looks_like_path(word: str) -> bool:
    if is_url(word) or len(word) > 1024 or re.search(r"[\s;|<>(){}=@:]", word):
        return False
    return "/" in word or word.startswith((".", "~"))


def _copy(program: str, arguments: Sequence[str]) -> Iterator[Effect]:
    target = next((value for value in _values(arguments, "-t", "--target-directory")), None)
    names = operands(arguments, _words("-t --target-directory -S -m -o -g -e --exclude --include -i -P -F -l --suffix"))
    if program in ("scp", "rsync"):
        names = [name for name in names if remote_host(name) is None]
        if remote_host(operands(arguments)[-1] if operands(arguments) else "") is not None:
            yield from (Effect("read", name) for name in names)
            return
    sources, target = (names, target) if target is not None else (names[:-1], names[-1] if names else "")
    if program == "ln" and not sources and target:
        sources, target = [target], target.rpartition("/")[2]
    for source in sources:
        yield Effect("read", source)
        if program == "mv":
            yield Effect("write", source)
    if target:
        yield Effect("write", target)


def _pattern_first(program: str, arguments: Sequence[str]) -> Iterator[Effect]:
    given = any(re.fullmatch(r"-e|-f|--regexp.*|--expression.*|--file.*|-[a-z]*e", word) for word in arguments)
    names = operands(
        arguments, _words("-e -f --expression -v -F --arg --argjson") if program != "perl" else frozenset({"-e"})
    )
    if program in ("grep", "egrep", "fgrep", "zgrep", "rg", "ag", "ack"):
        names = operands(arguments, _GREP_VALUED - {"-F", "-v"} | {"-f"})
    if not given and not (program == "rg" and "--files" in arguments):
        names = names[1:]
    in_place = program in ("sed", "perl", "yq") and any(
        re.match(r"-[a-zA-Z]*i|--in-place", word) for word in arguments if word.startswith("-")
    )
    for name in names:
        yield Effect("read", name)
        if in_place:
            yield Effect("write", name)
    yield from (Effect("read", name) for name in _values(arguments, "-f", "--file"))


def _values(arguments: Sequence[str], *options: str) -> Iterator[str]:
    for index, word in enumerate(arguments):
        for option in options:
            if (word == option or _ends_cluster(word, option)) and index + 1 < len(arguments):
                yield arguments[index + 1]
            elif option.startswith("--") and word.startswith(option + "="):
                yield word[len(option) + 1 :]
            elif not option.startswith("--") and word.startswith(option) and len(word) > 2 and word[1] != "-":
                yield word[2:]


def _ends_cluster(word: str, option: str) -> bool:
    return len(option) == 2 and re.fullmatch(f"-[a-z]+{option[1]}", word) is not None


def _output_option(program: str, arguments: Sequence[str]) -> Iterator[Effect]:
    if program in ("sort", "gpg", "age"):
        yield from (Effect("write", name) for name in _values(arguments, "-o", "--output"))
    if program == "tee":
        yield from (Effect("write", name) for name in operands(arguments))


def _following(arguments: Sequence[str], *options: str) -> Iterator[str]:
    yield from (arguments[index + 1] for index, word in enumerate(arguments[:-1]) if word in options)


def _curl(arguments: Sequence[str]) -> Iterator[Effect]:
    yield from (
        Effect("write", name) for name in _values(arguments, "-o", "--output", "-c", "--cookie-jar", "--output-dir")
    )
    yield from (
        Effect("read", name) for name in _values(arguments, "-T", "--upload-file", "-K", "--config", "--netrc-file")
    )
    for value in _values(
        arguments, "-d", "--data", "--data-binary", "--data-urlencode", "--json", "-F", "--form", "-H"
    ):
        name = re.match(r"(?:[^=@<]*=)?[@<](.+)", value, re.DOTALL)
        if name:
            yield Effect("read", name[1].split(";", 1)[0])
    for word in operands(arguments, _CURL_VALUED):
        if word.lower().startswith("file:"):
            yield Effect("read", re.sub(r"^file:/*", "/", word, flags=re.IGNORECASE))


def _wget(arguments: Sequence[str]) -> Iterator[Effect]:
    yield from (
        Effect("write", name) for name in _values(arguments, "-O", "--output-document", "-P", "--directory-prefix")
    )
    yield from (Effect("read", name) for name in _values(arguments, "--post-file", "--body-file", "-i", "--input-file"))


def _openssl(arguments: Sequence[str]) -> Iterator[Effect]:
    yield from (Effect("read", name) for name in _following(arguments, "-in", "-inkey", "-key"))
    yield from (Effect("write", name) for name in _following(arguments, "-out", "-keyout"))


def _dd(arguments: Sequence[str]) -> Iterator[Effect]:
    for word in arguments:
        if word.startswith("if="):
            yield Effect("read", word[3:])
        elif word.startswith("of="):
            yield Effect("write", word[3:])


def _archive(arguments: Sequence[str]) -> Iterator[Effect]:
    flags = arguments[0] if arguments and not arguments[0].startswith("--") else ""
    extracts = "x" in flags or "--extract" in arguments
    names = operands(arguments if flags.startswith("-") else arguments[1:], _words("-C --directory --file"))
    archive = names[:1] if "f" in flags else list(_values(arguments, "-f", "--file"))
    yield from (Effect("read" if extracts else "write", name) for name in archive)
    if extracts:
        yield Effect("write", next(_values(arguments, "-C", "--directory"), UNKNOWN))
    else:
        yield from (Effect("read", name) for name in names[len(archive) if "f" in flags else 0 :])


def _unzip(arguments: Sequence[str]) -> Iterator[Effect]:
    yield Effect("write", next(_values(arguments, "-d"), UNKNOWN))


def _node(arguments: Sequence[str]) -> Iterator[Effect]:
    for word in operands(arguments, _words("-m -c -e")):
        if _looks_like_path(word):
            yield Effect("read", word)


_SPECIAL = {
    "curl": _curl,
    "wget": _wget,
    "dd": _dd,
    "tar": _archive,
    "bsdtar": _archive,
    "unzip": _unzip,
    "node": _node,
    "openssl": _openssl,
}


def _hosts(program: str, arguments: Sequence[str]) -> Iterator[str]:
    if program in _OPERAND_HOSTS:
        yield from _url_operands(program, arguments)
    elif program in _BARE_HOSTS:
        yield from _bare_operand(program, arguments)
    elif program in ("scp", "rsync", "git"):
        yield from _remote_operands(program, arguments)
    elif program not in ("echo", "printf", "grep", "egrep", "fgrep", "rg", "sed", "awk", "test", "[", "jq", "gh"):
        yield from (host for word in arguments if is_url(word) for host in hosts_of(word))
        if program in ("socat", "openssl"):
            yield from (host for word in arguments for host in _connect_hosts(word))


def _url_operands(program: str, arguments: Sequence[str]) -> Iterator[str]:
    valued = _CURL_VALUED if program == "curl" else _WGET_VALUED if program == "wget" else frozenset[str]()
    urls = [word for word in operands(arguments, valued) if not word.lower().startswith("file:")]
    if program in ("http", "https", "xh"):
        urls = [word for word in urls if not re.fullmatch(r"[A-Z]+", word)][:1]
    urls.extend(_values(arguments, "--url", "-x", "--proxy", "--preproxy", "--socks5", "--socks5-hostname"))
    yield from (host for url in urls for host in hosts_of(url))
    for value in _values(arguments, "--resolve", "--connect-to"):
        pieces = value.split(":", 2 if value.count(":") < 3 else 3)
        yield from (host for piece in pieces for host in hosts_of(piece) if not piece.isdigit())


def _bare_operand(program: str, arguments: Sequence[str]) -> Iterator[str]:
    if program in ("ping", "nc", "ncat", "netcat", "telnet", "ssh", "sftp", "mosh", "traceroute", "whois", "nslookup"):
        names = operands(arguments, _BARE_VALUED if program != "nc" else _words("-p -w -s -i -X -x -q"))[:1]
    else:
        names = operands(arguments, _BARE_VALUED)
    yield from (host for name in names for host in hosts_of(name.lstrip("@")))


def _remote_operands(program: str, arguments: Sequence[str]) -> Iterator[str]:
    if program == "git" and not _words("clone fetch pull push remote ls-remote submodule archive") & set(arguments):
        return
    for word in operands(arguments):
        if program != "git" or is_url(word) or "@" in word:
            host = remote_host(word)
            if host:
                yield host


def _connect_hosts(word: str) -> list[str]:
    match = re.match(r"(?:TCP|TCP4|TCP6|OPENSSL|SSL|UDP)[\w\-]*:([^,]+)", word, re.IGNORECASE)
    if match:
        return hosts_of(match[1])
    return hosts_of(word) if re.fullmatch(r"[\w.\-]+:\d+", word) else []


def device_host(path: str) -> str | None:
    """Host of bash's `/dev/tcp/<host>/<port>` redirections."""
    match = re.match(r"/dev/(?:tcp|udp)/([^/]+)/", path)
    return next(iter(hosts_of(match[1])), UNKNOWN) if match else None
