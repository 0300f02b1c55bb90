"""TypeScript is blamed only where it stands."""

import pytest

from runtime.check.hints import typescript_hint


@pytest.mark.parametrize(
    ("line", "column"),
    [("const a: string = 1", 8), ("const f = (a: Foo) => a", 13), ("  interface X {", 3), ("x as Foo", 3), ("x!.y", 2)],
)
def test_w15_construct_at_the_place_is_named(line: str, column: int) -> None:
    assert "TypeScript" in typescript_hint(line, column)


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("const a: string = 1 2", 21),
        ("f(a: Thing)", 4),
        ("const o = {a: string b: 1}", 22),
        ("x = a ? b : Foo : c", 17),
        ("log('interface X {') }", 22),
        ("", 1),
    ],
)
def test_w15_construct_elsewhere_is_not_blamed(line: str, column: int) -> None:
    assert typescript_hint(line, column) == ""
