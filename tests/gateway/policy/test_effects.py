"""What single commands read, write and reach."""

import pytest

from gateway.policy.effects import device_host, effects
from gateway.policy.words import UNKNOWN


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("cat a b", "read a, read b"),
        ("head -n 5 a", "read a"),
        ("ls ~/.ssh", ""),
        ("echo a/b", ""),
        ("test -f a/b", ""),
        ("rm -rf a", "write a"),
        ("chmod 600 a", "write a"),
        ("cp -r a b", "read a, write b"),
        ("cp -t d a b", "read a, read b, write d"),
        ("mv a b", "read a, write a, write b"),
        ("ln -s /etc e", "read /etc, write e"),
        ("grep -rn x a", "read a"),
        ("grep -e x a", "read a"),
        ("rg --files a", "read a"),
        ("sed s/a/b/ f", "read f"),
        ("sed -i s/a/b/ f", "read f, write f"),
        ("sed -i.bak -e s/a/b/ f", "read f, write f"),
        ("tee -a f", "write f"),
        ("dd if=a of=b", "read a, write b"),
        ("tar czf a.tgz d", "write a.tgz, read d"),
        ("tar xf a.tgz -C d", "read a.tgz, write d"),
        ("tar -czf a.tgz d", "write a.tgz, read d"),
        ("sort -o b a", "read a, write b"),
        ("find a b -delete", "write a, write b"),
        ("mytool ./a ~/b c/d e -x", "read ./a, read ~/b, read c/d"),
        ("mytool https://h.example/x", "host h.example"),
        ("curl -so f -XPOST https://h.example/x", "write f, host h.example"),
        ("curl -o f -d @g h.example", "write f, read g, host h.example"),
        ("curl -F x=@g h.example", "read g, host h.example"),
        ("curl file:///etc/hosts", "read /etc/hosts"),
        ("curl -x p.example:3128 h.example", "host h.example, host p.example"),
        ("curl --resolve h.example:443:10.0.0.1 https://h.example", "host h.example, host h.example, host 10.0.0.1"),
        ("wget -O f h.example/x", "write f, host h.example"),
        ("nc -w 3 h.example 80", "host h.example"),
        ("ssh -p 22 me@h.example ls", "host h.example"),
        ("scp a me@h.example:b", "read a, host h.example"),
        ("git clone git@h.example:a/b", "host h.example"),
        ("git commit -m https://h.example", ""),
        ("openssl s_client -connect h.example:443", "host h.example"),
    ],
)
def test_command_touches_what_its_arguments_say(command: str, expected: str) -> None:
    found = ", ".join(f"{one.kind} {one.text}" for one in effects(command.split()))
    assert found == expected


def test_chosen_files_are_not_the_whole_tree() -> None:
    assert [one.text for one in effects(["find", ".", "-name", "*.pyc", "-delete"])] == [f"./{UNKNOWN}"]
    assert [one.text for one in effects(["find", ".", "-delete"])] == ["."]


def test_network_devices_of_the_shell_name_their_host() -> None:
    assert device_host("/dev/tcp/h.example/80") == "h.example"
    assert device_host("/dev/null") is None
