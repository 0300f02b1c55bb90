# What rules share. Pure functions of their arguments: none reads input, so that a rule's own file shows what it reads.
package ringfence.lib

# The only way to word a violation: what is refused and why, then what is allowed instead.
violation(refused, instead) := sprintf("%s; %s", [refused, instead])

# What is allowed instead, when it can be listed.
one_of(allowed, otherwise) := sprintf("use one of: %s", [concat(", ", allowed)]) if {
	count(allowed) > 0
} else := otherwise

# Text for people: cut, so that a message stays one line.
shown(text) := text if {
	count(text) <= 120
} else := concat("", [substring(text, 0, 117), "..."])

# A path below some home folder, as `~/...`; any other as it is.
from_home(path) := regex.replace(path, `^(/home/[^/]+|/Users/[^/]+|/root)(/|$)`, "~$2")

line(argv) := concat(" ", argv)

matches_any(globs, text) if {
	some pattern in globs
	matches(pattern, text)
}

# A star also matches "/", "." and nothing; `git push *` also matches a bare `git push`.
matches(pattern, text) if {
	pattern == "*"
} else if {
	pattern == text
} else if {
	contains(pattern, "*")
	glob.match(pattern, null, text)
} else if {
	regex.match(`[?\[{]`, pattern)
	glob.match(pattern, null, text)
} else if {
	endswith(pattern, " *")
	trim_suffix(pattern, " *") == text
}

# Whether every word of a pattern (globs, in any order) is an argument of the command; no word: any use of the program.
has_words(argv, pattern) if {
	every word in split(pattern, " ") {
		has_word(argv, word)
	}
}

has_word(argv, word) if {
	word == ""
} else if {
	some argument in argv
	matches(word, argument)
}

# Whether an entry of a list of calls means this one: a glob over tools, or an object whose parts must all match. The part
# `input` is the rule's own, so that its text is looked at only when the rest matches.
means(entry, tool, _, _) if {
	is_string(entry)
	matches(entry, tool)
}

means(entry, tool, agent_type, commands) if {
	is_object(entry)
	matches(entry.tool, tool)
	means_type(entry, agent_type)
	means_command(entry, commands)
}

means_type(entry, _) if not entry.agent_types

means_type(entry, agent_type) if matches_any(entry.agent_types, agent_type)

means_command(entry, _) if not entry.commands

means_command(entry, commands) if {
	some command in commands
	matches_any(entry.commands, line(command.argv))
}

# A value of a tool's input as a pattern is laid over it.
text(value) := value if is_string(value)

text(value) := json.marshal(value) if not is_string(value)

# What a mapping by type holds for a type: its own entry, else that of "*"; undefined when there is neither.
entry_for(held, type) := held[type] if {
	held[type]
} else := held["*"]

# The lists that count for somebody: of the user, else of the groups, else of the team; none when nobody has one.
lists_for(held, user, groups, team) := [held.users[user]] if {
	held.users[user]
} else := of_groups if {
	of_groups := [list | some group in groups; list := held.groups[group]]
	count(of_groups) > 0
} else := [held.teams[team]] if {
	held.teams[team]
} else := []

operands(argv) := [word |
	some index, word in argv
	index > 0
	not startswith(word, "-")
]

# Options of a command, short ones also when they are run together: -fdx holds -f.
has_option(argv, short, long) if {
	some index, word in argv
	index > 0
	regex.match(sprintf("^-[a-zA-Z]*%s", [short]), word)
}

has_option(argv, short, long) if long in argv

# The host of a URL as a list of one, empty when there is none.
host_of(url) := [host |
	authority := regex.find_n(`^[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#\\]+`, url, 1)[0]
	rest := split(split(authority, "://")[1], "@")
	host := lower(split(rest[count(rest) - 1], ":")[0])
]
