# What rules share. Pure functions of their arguments: none reads input, so that a rule's own file shows what it reads.
package ringfence.lib

# The only way to word a violation: what is refused and why, then what is allowed instead.
violation(refused, instead) := sprintf("%s; %s", [refused, instead])

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
