# METADATA
# title: Running what was just fetched
# description: Text from a network or a decoder must not be run before anybody could read it.
package ringfence.rules.shell.pipe_to_shell

import data.ringfence.lib
import data.ringfence.settings

shells := {"sh", "bash", "zsh", "dash", "ksh", "ash", "mksh", "fish", "rbash", "pwsh", "eval", "source", "."}

violations contains lib.violation(
	sprintf("%s would run what %s brings, unread", [command.program, command.piped_from]),
	"save it to a file in the workspace, read it, and ask a person to run it",
) if {
	input.action.kind == "tool_call"
	some command in input.action.facts.commands
	command.piped_from in settings.shell.pipe_to_shell.sources
	runs_feed(command)
}

violations contains lib.violation(
	sprintf("%q runs the file that the same line fetches, unread", [lib.shown(lib.line(command.argv))]),
	"save it to a file in the workspace, read it, and ask a person to run it",
) if {
	input.action.kind == "tool_call"
	some fetch in input.action.facts.commands
	fetch.program in {"curl", "wget", "aria2c"}
	some command in input.action.facts.commands
	some name in run_files(command)
	some word in fetch.argv
	base(word) == name
}

runs_feed(command) if {
	command.program in shells
	not is_told_otherwise(command.argv)
}

runs_feed(command) if {
	is_interpreter(command.program)
	not is_told_otherwise(command.argv)
	not is_given_code(command.argv)
}

is_interpreter(program) if regex.match(`^(python|pypy|perl|ruby|node|nodejs|deno|bun|php|lua)[0-9.]*$`, program)

# A first operand that is known: a script of its own, or the text after -c.
is_told_otherwise(argv) if {
	not reads_feed(argv)
	first := lib.operands(argv)[0]
	not contains(first, "\ufffd")
	not first in {"-", "/dev/stdin"}
}

reads_feed(argv) if {
	some word in argv
	regex.match(`^-[a-z]*s[a-z]*$|^-$|^/dev/stdin$`, word)
}

is_given_code(argv) if {
	some index, word in argv
	regex.match(`^(-[a-zA-Z]*[cemr]|--eval|--print|-p|-ne|-pe)$`, word)
	not contains(argv[index + 1], "\ufffd")
}

run_files(command) := {base(word) |
	command.program in shells
	word := lib.operands(command.argv)[0]
} | {command.program | regex.match(`\.(sh|bash|py|pl|rb|js|run|bin)$`, command.program)}

base(path) := parts[count(parts) - 1] if parts := split(path, "/")
