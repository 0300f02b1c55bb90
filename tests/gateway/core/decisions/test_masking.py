"""Secrets in recorded facts: what is taken out, and what rules read of the rest."""

import pytest

from gateway.core.decisions.masking import CUT, MASK, TEXT_CHARS_MAX, Masking

PAT = "ghp_" + "a1" * 18


@pytest.mark.parametrize(
    ("argv", "masked"),
    [
        (["curl", "-H", "Authorization: Bearer abc.def", "https://a.example"], [2]),
        (["curl", "-H", "x-api-key: 12345", "https://a.example"], [2]),
        (["curl", "--cookie", "a=b", "-H", "Cookie: s=1; t=2"], [2, 4]),
        (["curl", "-u", "bob:hunter2", "https://a.example"], [2]),
        (["mysql", "--password", "hunter2", "shop"], [2]),
        (["mysql", "--password=hunter2", "shop"], [1]),
        (["docker", "run", "-e", "DB_PASSWORD=hunter2", "app:1"], [3]),
        (["psql", "postgres://bob:hunter2@db.example/shop"], [1]),
        (["git", "clone", f"https://{PAT}@github.com/acme/shop"], [2]),
        (["aws", "configure", "set", "aws_secret_access_key", "wJalr/K7MDENG"], [4]),
        (["export", f"GH_TOKEN={PAT}"], [1]),
        (["echo", PAT], [1]),
        (["echo", "sk-ant-api03-" + "x" * 30], [1]),
        (["echo", "AKIAIOSFODNN7EXAMPLE"], [1]),
        (["echo", "eyJhbGciOiJI.eyJzdWIiOiIx.sig"], [1]),
        (["echo", "Zm9v" * 12 + "1"], [1]),
        (["echo", "-----BEGIN RSA PRIVATE KEY-----\nZm9v"], [1]),
        (["echo", '{"password": "hunter2", "user": "bob"}'], [1]),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) and isinstance(value[0], str) else "",
)
def test_secret_of_a_command_is_masked_and_the_rest_stays(argv: list[str], masked: list[int]) -> None:
    masking = Masking()
    words = masking.words(argv)
    assert [at for at, word in enumerate(words) if word != argv[at]] == masked and masking.changed == len(masked)
    assert not any(secret in " ".join(words) for secret in ("hunter2", PAT, "abc.def", "12345", "wJalr", "s=1", "t=2"))


@pytest.mark.parametrize(
    "argv",
    [
        ["git", "push", "--force", "origin", "main"],
        ["git", "checkout", "3f786850e387550fdab836ed7e6dc881de23001b"],
        ["git", "log", "--author=alice", "-n", "5"],
        ["rm", "-rf", "/home/alice/shop"],
        ["cat", ".env", "~/.aws/credentials", "src/tokens/reader.py"],
        ["curl", "-o", "a.json", "https://a.example/x?page=2&sort=name"],
        ["npm", "install", "left-pad@1.3.0"],
        ["cat", "/tmp/claude-1000/5e6f7a8b-1111-2222-3333-444455556666/notes.md"],
        ["mkdir", "-p", "a:b"],
    ],
    ids=lambda argv: " ".join(argv)[:50],
)
def test_words_that_rules_read_stay_as_they_are(argv: list[str]) -> None:
    masking = Masking()
    assert masking.words(argv) == argv
    assert masking.changed == 0


def test_part_of_a_text_that_is_no_secret_stays() -> None:
    text = Masking().text("https://bob:hunter2@a.example/x?token=abc&page=2")
    assert text == f"https://{MASK}@a.example/x?token={MASK}&page=2"


def test_long_text_is_cut_and_counted() -> None:
    masking = Masking()
    text = masking.text("print(1);" * 100)
    assert text.endswith(CUT) and len(text) == TEXT_CHARS_MAX + len(CUT)
    assert masking.changed == 1


def test_secret_across_the_cut_leaves_nothing() -> None:
    text = Masking().text("x" * (TEXT_CHARS_MAX - 8) + " " + PAT + " y" * 400)
    assert PAT[:8] not in text


def test_json_keeps_its_form() -> None:
    masking = Masking()
    held = {"commands": [{"argv": ["mysql", "--password", "p"], "piped_from": None}], "n": 1, "argv": "no list"}
    assert masking.value(held) == {
        "commands": [{"argv": ["mysql", "--password", MASK], "piped_from": None}],
        "n": 1,
        "argv": "no list",
    }
    assert masking.changed == 1
