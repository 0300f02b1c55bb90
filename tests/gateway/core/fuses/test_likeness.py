"""What is smoothed away before inputs and results are compared, and what is not."""

import pytest

from gateway.core.fuses.likeness import INPUT_BYTES_MAX, RESULT_BYTES_MAX, likeness_of_input, likeness_of_result


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"port": 1}, {"port": 20}),
        ({"a": 1, "b": "x"}, {"b": "x", "a": 2}),
        ({"id": "0b7c3a52-1111-4222-8333-444455556666"}, {"id": "AB7c3a52-9999-4222-8333-000000000000"}),
        ({"at": "0x1f"}, {"at": "0xffee"}),
        ({"c": "a\n  b"}, {"c": "a b"}),
        ({"c": 'say "x"'}, {"c": "say 'x'"}),
    ],
)
def test_inputs_that_differ_in_nothing_that_matters_are_alike(one: object, other: object) -> None:
    assert likeness_of_input(one) == likeness_of_input(other) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"file": "/a/one.py"}, {"file": "/a/two.py"}),
        ({"file": "a.py"}, {"file": "b.py"}),
        ({"word": "defaced"}, {"word": "effaced"}),
        ({"a": "1"}, {"b": "1"}),
        ({"c": "ls -a"}, {"c": "ls -A"}),
    ],
)
def test_inputs_that_name_something_else_are_not(one: object, other: object) -> None:
    assert likeness_of_input(one) != likeness_of_input(other)


def test_long_input_is_like_no_other() -> None:
    assert likeness_of_input({"content": "x" * INPUT_BYTES_MAX}) is None
    assert likeness_of_input({"content": "x" * (INPUT_BYTES_MAX - 14)}) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'"took 3ms"', b'"took 41 ms"'),
        (b'"2026-11-22 10:00:01,123 up"', b'"2026-01-02 23:59:59 up"'),
        (b'"build 3f2a9c1d ok"', b'"build 0099ffee ok"'),
        (b'"in 0b7c3a52-1111-4222-8333-444455556666"', b'"in 9d0fe2aa-5555-4666-9777-888899990000"'),
    ],
)
def test_results_that_differ_in_time_and_ids_are_alike(one: bytes, other: bytes) -> None:
    assert likeness_of_result(one) == likeness_of_result(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [(b'"9 failed"', b'"3 failed"'), (b'"line 1"', b'"line 2"'), (b'"v1.2"', b'"v1.3"'), (b'""', b'"x"')],
)
def test_results_with_other_numbers_are_not(one: bytes, other: bytes) -> None:
    assert likeness_of_result(one) != likeness_of_result(other)


def test_long_result_is_compared_as_it_is() -> None:
    long = b"took 3ms " * RESULT_BYTES_MAX
    assert likeness_of_result(long) is long
