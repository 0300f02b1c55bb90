# METADATA
# title: Credentials of clouds and environments
# description: Commands that print or make credentials, metadata addresses, and dumps of the whole environment.
package ringfence.rules.cloud.credentials

import data.ringfence.lib
import data.ringfence.settings

violations contains lib.violation(
	sprintf("%q prints or makes a credential", [lib.shown(lib.line(command.argv))]),
	"use the tool that needs the credential and let it find it by itself",
) if {
	input.action.kind == "tool_call"
	some command in input.action.facts.commands
	some words in settings.cloud.commands[command.program]
	lib.has_words(command.argv, words)
}

violations contains lib.violation(
	sprintf("%s hands out the machine's credentials", [host]),
	"ask a person for access that is meant for you",
) if {
	input.action.kind == "tool_call"
	some host in input.action.facts.hosts
	host in settings.cloud.metadata_hosts
}

violations contains lib.violation(
	sprintf("%q shows every variable of the environment, secrets too", [lib.shown(lib.line(command.argv))]),
	"name the one variable you need, if it is no secret: printenv PATH",
) if {
	input.action.kind == "tool_call"
	some command in input.action.facts.commands
	command.program in {"env", "printenv", "export", "declare", "typeset", "set"}
	dumps_environment(command.argv)
}

violations contains lib.violation(
	sprintf("%q shows a secret", [lib.shown(lib.line(command.argv))]),
	"use it in the command that needs it without printing it",
) if {
	input.action.kind == "tool_call"
	some command in input.action.facts.commands
	command.program == "printenv"
	some word in lib.operands(command.argv)
	regex.match(`(?i)(key|token|secret|passw|credential|private)`, word)
}

dumps_environment(argv) if {
	argv[0] in {"env", "printenv"}
	every index, word in argv {
		is_env_option(index, word)
	}
}

dumps_environment(argv) if {
	argv[0] in {"export", "declare", "typeset"}
	count(argv) == 2
	argv[1] in {"-p", "-x", "-px", "-xp"}
}

dumps_environment(argv) if argv in [["export"], ["set"]]

is_env_option(index, word) if index == 0

is_env_option(index, word) if word in {"-0", "--null"}
