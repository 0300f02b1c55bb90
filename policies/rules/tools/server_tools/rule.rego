# METADATA
# title: Tools that the provider runs
# description: Server tools and remote MCP servers act where no tool call can be held, so the request itself is decided.
package ringfence.rules.tools.server_tools

import data.ringfence.lib
import data.ringfence.settings

violations contains lib.violation(
	sprintf("server tool %q is not allowed", [lib.shown(type)]),
	sprintf("use one of: %s", [concat(", ", settings.tools.server_tools)]),
) if {
	input.action.kind == "infer"
	some type in input.action.server_tools
	not lib.matches_any(settings.tools.server_tools, type)
}

violations contains lib.violation(
	sprintf("remote MCP server %q is not allowed", [lib.shown(url)]),
	"leave mcp_servers out of the request, or name an https server that the setting tools.mcp_hosts lists",
) if {
	input.action.kind == "infer"
	some url in input.action.mcp_servers
	not is_listed(url)
}

is_listed(url) if {
	startswith(url, "https://")
	some host in lib.host_of(url)
	lib.matches_any(settings.tools.mcp_hosts, host)
}
