# METADATA
# title: Hosts that may be reached
# description: Tools and commands reach the hosts that the settings allow; private networks only when they say so.
package ringfence.rules.network.hosts

import data.ringfence.lib
import data.ringfence.settings

violations contains lib.violation(
	sprintf("host %s is refused by the setting network.deny", [lib.shown(host)]),
	"use another source, or ask the operator of the gateway for an exception",
) if {
	input.action.kind == "tool_call"
	some host in input.action.facts.hosts
	lib.matches_any(settings.network.deny, host)
}

violations contains lib.violation(
	sprintf("host %s is not in the setting network.allow", [lib.shown(host)]),
	sprintf("use one of: %s", [concat(", ", settings.network.allow)]),
) if {
	input.action.kind == "tool_call"
	some host in input.action.facts.hosts
	not lib.matches_any(settings.network.allow, host)
}

violations contains lib.violation(
	sprintf("host %s is in a private network", [lib.shown(host)]),
	"use a public host, or ask the operator of the gateway for an exception",
) if {
	input.action.kind == "tool_call"
	some host in input.action.facts.hosts
	not settings.network.private
	is_private(host)
	not is_named(host)
}

violations contains lib.violation(
	sprintf("host %s is this machine itself", [lib.shown(host)]),
	"ask the operator of the gateway to allow loopback",
) if {
	input.action.kind == "tool_call"
	some host in input.action.facts.hosts
	not settings.network.loopback
	is_loopback(host)
}

violations contains lib.violation(
	"no host can be told from this call",
	"give a whole URL with scheme and host",
) if {
	input.action.kind == "tool_call"
	input.action.tool in {"WebFetch", "web_fetch"}
	count(input.action.facts.hosts) == 0
}

# A private host that the settings allow by its own name, not by a star alone.
is_named(host) if {
	some pattern in settings.network.allow
	pattern != "*"
	lib.matches(pattern, host)
}

is_private(host) if regex.match(`^(10\.|192\.168\.|172\.(1[6-9]|2[0-9]|3[01])\.|169\.254\.|100\.(6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])\.)[0-9.]+$`, host)

is_private(host) if regex.match(`^(f[cd][0-9a-f]{2}|fe[89ab][0-9a-f]):`, host)

is_private(host) if regex.match(`\.(internal|local|lan|corp|intranet|home\.arpa)$`, host)

is_loopback(host) if regex.match(`^(localhost|.*\.localhost|127\.[0-9.]+|::1|::|0\.0\.0\.0)$`, host)
