# METADATA
# title: New packages
# description: Installing from a lock or requirements file is allowed; a package by name brings code nobody has reviewed.
package ringfence.rules.shell.package_installs

import data.ringfence.lib
import data.ringfence.settings

violations contains lib.violation(
	sprintf("%q installs a package by name", [lib.shown(lib.line(command.argv))]),
	"install from the lock file (npm ci, pip install -r, uv sync), or ask a person to add the package",
) if {
	input.action.kind == "tool_call"
	some command in input.action.facts.commands
	verbs := settings.shell.package_installs.verbs[command.program]
	words := operands(command.argv)
	words[0] in verbs
	some package_name in array.slice(words, 1, count(words))
	is_package(package_name)
	not lib.matches_any(settings.shell.package_installs.allow, package_name)
}

# Options whose next word is no package: -r requirements.txt, --index-url x.
valued := {
	"-r", "--requirement", "-c", "--constraint", "-i", "--index-url", "--extra-index-url", "--prefix", "-C", "--cwd", "-t",
	"--target", "--registry", "-w", "--workspace", "--filter", "-F", "--dir", "--python", "-p", "--project", "--directory",
	"--features", "--group", "-n", "--name", "--root", "-o",
}

operands(argv) := [word |
	some index, word in argv
	index > 0
	not startswith(word, "-")
	not argv[index - 1] in valued
]

# Not what lies in the workspace: `.`, `./pkg`, `../lib[extra]`, a built archive.
is_package(word) if not regex.match(`^(\.{1,2}(/.*)?(\[.*\])?|[~/].*|.*\.(whl|tgz|tar\.gz|gem|deb|rpm)|file:.*)$`, word)
