"""The package offers what `ports.Workspaces` asks for."""

from runtime.ports import Checkout, Workspaces
from runtime.workspace import Folders, GitWorkspaces
from runtime.workspace.worktrees import GitCheckout


def test_git_workspaces_are_workspaces_as_the_ports_want_them() -> None:
    workspaces: Workspaces = GitWorkspaces(Folders([]))
    checkout: type[Checkout] = GitCheckout
    assert workspaces is not None
    assert checkout is GitCheckout
