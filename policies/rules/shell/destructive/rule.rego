# METADATA
# title: Commands that destroy
# description: Removing what cannot be got back, rewriting shared history, writing to disks, stopping the machine.
package ringfence.rules.shell.destructive

import data.ringfence.lib
import data.ringfence.settings

violations contains lib.violation(
	sprintf("%q destroys what cannot be got back", [lib.shown(lib.line(command.argv))]),
	instead,
) if {
	input.action.kind == "tool_call"
	some command in input.action.facts.commands
	command.program in {"git", "dd"}
	some instead in findings(command.argv)
}

# `rm -rf *`: the words say everything, and so do the paths after `cd` in the line was followed.
violations contains lib.violation(
	sprintf("%q removes the whole workspace", [lib.shown(lib.line(command.argv))]),
	"name the files or folders inside it that are to go",
) if {
	input.action.kind == "tool_call"
	some command in input.action.facts.commands
	command.program in {"rm", "srm", "find", "\ufffd"}
	removes_trees(command.argv)
	some word in lib.operands(command.argv)
	regex.match(`^(\./*)*(\.|\.?\*|\./+\*)/*$`, word)
	some use in input.action.facts.paths
	use.access == "write"
	use.path in {".", "*", ".*"}
}

# Words that mean the same wherever they stand, so also on another host and for a program that is not known.
violations contains lib.violation(
	sprintf("removing %s takes away more than this task can own", [word]),
	"name the files or folders inside the workspace that are to go",
) if {
	input.action.kind == "tool_call"
	some command in input.action.facts.commands
	command.program in {"rm", "srm", "find", "\ufffd"}
	removes_trees(command.argv)
	some word in lib.operands(command.argv)
	regex.match(`^(/+|~/*|/+\*.*|~/+\*|(\.\./+)*\.\.(/+\*)?/*|/+\x{FFFD}.*)$`, word)
}

violations contains lib.violation(
	sprintf("removing %s takes the workspace with it", [use.path]),
	"name the files or folders inside it that are to go",
) if {
	input.action.kind == "tool_call"
	some command in input.action.facts.commands
	command.program in {"rm", "srm", "find", "mv", "\ufffd"}
	removes_trees(command.argv)
	some use in input.action.facts.paths
	use.access == "write"
	startswith(sprintf("%s/", [input.lineage.workspace]), sprintf("%s/", [trim_suffix(trim_suffix(use.path, "/*"), "/")]))
}

violations contains lib.violation(
	sprintf("%q is on the list of commands that destroy", [lib.shown(lib.line(command.argv))]),
	"leave this to a person",
) if {
	input.action.kind == "tool_call"
	some command in input.action.facts.commands
	some words in settings.shell.destructive.commands[command.program]
	lib.has_words(command.argv, words)
}

violations contains lib.violation(
	sprintf("writing to %s destroys what is on that disk", [use.path]),
	"write to a file in the workspace",
) if {
	input.action.kind == "tool_call"
	some use in input.action.facts.paths
	use.access == "write"
	regex.match(`^/dev/(sd|hd|vd|xvd|nvme|mmcblk|disk|rdisk|mapper/|dm-)`, use.path)
}

violations contains lib.violation(
	sprintf("removing %s takes away more than this task can own", [use.path]),
	"name the files or folders inside the workspace that are to go",
) if {
	input.action.kind == "tool_call"
	some command in input.action.facts.commands
	command.program in {"rm", "srm", "find", "mv", "chmod", "chown", "chgrp", "shred", "wipe", "\ufffd"}
	removes_trees(command.argv)
	some use in input.action.facts.paths
	use.access == "write"
	is_protected(use.path)
}

# An unknown program with the options of rm counts as rm.
removes_trees(argv) if {
	argv[0] in {"rm", "srm", "\ufffd"}
	some index, word in argv
	index > 0
	regex.match(`^(-[a-zA-Z]*[rR][a-zA-Z]*|--recursive)$`, word)
}

removes_trees(argv) if {
	argv[0] in {"chmod", "chown", "chgrp"}
	lib.has_option(argv, "R", "--recursive")
}

removes_trees(argv) if {
	argv[0] == "find"
	"-delete" in argv
}

removes_trees(argv) if argv[0] in {"mv", "shred", "wipe"}

findings(argv) := push(argv) | discard(argv) | drop(argv) if {
	argv[0] == "git"
} else := overwrite(argv)

push(argv) := {"push without force, or to a new branch; --force-with-lease is allowed on branches that are not protected" |
	git(argv)[0] == "push"
	is_forced(argv)
}

is_forced(argv) if lib.has_option(argv, "f", "--force")

is_forced(argv) if {
	some word in argv
	word in {"--mirror", "--prune"}
}

is_forced(argv) if {
	some word in git(argv)
	regex.match(`^\+.`, word)
}

is_forced(argv) if {
	some word in git(argv)
	removes_branch(argv, word)
	lib.matches_any(settings.shell.destructive.branches, trim_prefix(word, ":"))
}

is_forced(argv) if {
	some word in argv
	startswith(word, "--force-with-lease")
	some branch in git(argv)
	lib.matches_any(settings.shell.destructive.branches, branch)
}

removes_branch(argv, word) if startswith(word, ":")

removes_branch(argv, word) if lib.has_option(argv, "d", "--delete")

discard(argv) := {"commit or stash the changes first, or name the single files to restore" |
	discards(argv, git(argv))
}

discards(argv, words) if {
	words[0] == "reset"
	"--hard" in argv
}

discards(argv, words) if {
	words[0] == "clean"
	lib.has_option(argv, "f", "--force")
	not lib.has_option(argv, "n", "--dry-run")
}

discards(argv, words) if {
	words[0] in {"checkout", "restore"}
	not is_index_only(argv)
	some word in words
	word in {".", "./", ":/", "*", ":/*", "\ufffd/."}
}

discards(argv, words) if {
	words[0] in {"checkout", "switch"}
	lib.has_option(argv, "f", "--force")
}

discards(argv, words) if {
	words[0] == "switch"
	"--discard-changes" in argv
}

is_index_only(argv) if {
	lib.has_option(argv, "S", "--staged")
	not lib.has_option(argv, "W", "--worktree")
}

drop(argv) := {"delete only branches of your own" |
	words := git(argv)
	words[0] == "branch"
	lib.has_option(argv, "D", "--delete")
	some word in words
	lib.matches_any(settings.shell.destructive.branches, word)
}

overwrite(argv) := {"write to a file in the workspace" |
	some word in argv
	regex.match(`^of=/dev/(sd|hd|vd|xvd|nvme|mmcblk|disk|rdisk)`, word)
}

# Words of a git command from its subcommand on, without options.
git(argv) := [word |
	argv[0] == "git"
	some index, word in argv
	index > 0
	not startswith(word, "-")
	not argv[index - 1] in {"-C", "-c", "--git-dir", "--work-tree", "--namespace", "-m"}
]

is_protected(path) if {
	some folder in settings.shell.destructive.protected
	some form in [folder, sprintf("%s/*", [trim_suffix(folder, "/")])]
	form in {path, lib.from_home(path)}
}

is_protected(path) if {
	some folder in settings.shell.destructive.protected
	contains(folder, "*")
	glob.match(folder, ["/"], path)
}

is_protected(path) if regex.match(`^(\.\./)*\.\.(/\*)?$`, path)

is_protected(path) if startswith(path, "/\ufffd")
