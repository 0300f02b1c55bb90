"""Credential rows on their own connection."""

from pathlib import Path

import pytest

from gateway.stores.credentials import CredentialRow, CredentialRows, CredentialTaken

ROW = CredentialRow("ci", "bob", "platform", b"\x01" * 32, 1, None, True, {"purpose": "nightly"})


def test_no_database_has_no_credentials_and_is_not_created_by_looking(tmp_path: Path) -> None:
    rows = CredentialRows(tmp_path / "l.db")
    assert (rows.list(), rows.version(), rows.revoke("ci", 5)) == ([], 0, False)
    assert not (tmp_path / "l.db").exists()


def test_inserted_row_is_listed_whole(tmp_path: Path) -> None:
    rows = CredentialRows(str(tmp_path / "l.db"))
    rows.insert(ROW)
    assert rows.list() == [ROW]


@pytest.mark.parametrize(
    "other", [CredentialRow("ci", "eve", None, b"2", 2), CredentialRow("x", "eve", None, ROW.hash, 2)]
)
def test_id_or_secret_of_another_is_refused_and_changes_nothing(tmp_path: Path, other: CredentialRow) -> None:
    rows = CredentialRows(tmp_path / "l.db")
    rows.insert(ROW)
    version = rows.version()
    with pytest.raises(CredentialTaken, match="exists already"):
        rows.insert(other)
    assert (rows.list(), rows.version()) == ([ROW], version)


def test_revoked_row_stays_listed_with_the_first_time_it_was_revoked(tmp_path: Path) -> None:
    rows = CredentialRows(tmp_path / "l.db")
    rows.insert(ROW)
    assert rows.revoke("ci", 5)
    assert not rows.revoke("ci", 9)
    assert [row.revoked_ms for row in rows.list()] == [5]


def test_version_grows_with_each_change(tmp_path: Path) -> None:
    rows = CredentialRows(tmp_path / "l.db")
    rows.insert(ROW)
    first = rows.version()
    rows.revoke("ci", 5)
    assert rows.version() > first > 0
