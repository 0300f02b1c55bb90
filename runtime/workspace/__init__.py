"""The folders that agents may work in, and git worktrees of them. Implements `ports.Workspaces`. Gives no tools."""

from runtime.workspace.folders import Folders
from runtime.workspace.worktrees import GitWorkspaces

__all__ = ["Folders", "GitWorkspaces"]
