# METADATA
# title: How many agents
# description: Types, depth, width, total and pace of a session's and a user's agents. Fuses hold the same strictly; this explains.
package ringfence.rules.spawn.limits

import data.ringfence.lib
import data.ringfence.settings

violations contains lib.violation(
	sprintf("agents of type %q are not allowed", [lib.shown(agent_type)]),
	sprintf("use one of: %s", [concat(", ", settings.spawn.agent_types)]),
) if {
	input.action.kind == "spawn"
	not lib.matches_any(settings.spawn.agent_types, agent_type)
}

violations contains lib.violation(
	sprintf("an agent at depth %d is too deep, %d is the limit", [depth, settings.spawn.depth]),
	"do the work in this agent",
) if {
	input.action.kind == "spawn"
	depth > settings.spawn.depth
}

violations contains lib.violation(
	sprintf("the session has %d active agents, %d is the limit", [input.meters.session.active_agents, settings.spawn.width]),
	"wait until some have ended",
) if {
	input.action.kind == "spawn"
	not is_of_run
	input.meters.session.active_agents >= settings.spawn.width
}

violations contains lib.violation(
	sprintf("the session has had %d agents, %d is the limit", [input.meters.session.agents, settings.spawn.total]),
	"finish with the agents there are, or start a new session",
) if {
	input.action.kind == "spawn"
	not is_of_run
	input.meters.session.agents >= settings.spawn.total
}

violations contains lib.violation(
	sprintf("the run has %d active agents, %d is the limit", [input.meters.run.active_agents, settings.spawn.run.width]),
	"let the script do fewer things side by side",
) if {
	input.action.kind == "spawn"
	is_of_run
	is_number(settings.spawn.run.width)
	input.meters.run.active_agents >= settings.spawn.run.width
}

violations contains lib.violation(
	sprintf("the run has had %d agents, %d is the limit", [input.meters.run.agents, settings.spawn.run.total]),
	"let fewer agents do more each",
) if {
	input.action.kind == "spawn"
	is_of_run
	is_number(settings.spawn.run.total)
	input.meters.run.agents >= settings.spawn.run.total
}

violations contains lib.violation(
	"it is not known how many agents the session has",
	"try again; report it with the decision id if it lasts",
) if {
	input.action.kind == "spawn"
	not are_counted
}

are_counted if {
	input.action.kind == "spawn"
	is_number(input.meters.session.active_agents)
	is_number(input.meters.session.agents)
}

violations contains lib.violation(
	sprintf("the session began %d agents within a minute, %d is the limit", [input.meters.session.agents_per_minute, settings.spawn.per_minute]),
	"wait a minute, or let fewer agents do more each",
) if {
	input.action.kind == "spawn"
	is_number(settings.spawn.per_minute)
	input.meters.session.agents_per_minute >= settings.spawn.per_minute
}

violations contains lib.violation(
	sprintf("all your sessions together began %d agents within a minute, %d is the limit", [input.meters.user.agents_per_minute, settings.spawn.user.per_minute]),
	"wait a minute, or let fewer agents do more each",
) if {
	input.action.kind == "spawn"
	is_number(settings.spawn.user.per_minute)
	input.meters.user.agents_per_minute >= settings.spawn.user.per_minute
}

violations contains lib.violation(
	sprintf("all your sessions together have %d active agents, %d is the limit", [input.meters.user.active_agents, settings.spawn.user.width]),
	"wait until some have ended, or end a session that you do not need",
) if {
	input.action.kind == "spawn"
	is_number(settings.spawn.user.width)
	input.meters.user.active_agents >= settings.spawn.user.width
}

violations contains lib.violation(
	sprintf("it is not known: %s", [concat(", ", uncounted)]),
	"try again; report it with the decision id if it lasts",
) if {
	input.action.kind == "spawn"
	count(uncounted) > 0
}

# What a limit is set on, and nobody counted.
uncounted contains "how many agents the session began within a minute" if {
	input.action.kind == "spawn"
	is_number(settings.spawn.per_minute)
	not is_session_pace_known
}

uncounted contains "how many agents you began within a minute" if {
	input.action.kind == "spawn"
	is_number(settings.spawn.user.per_minute)
	not is_user_pace_known
}

uncounted contains "how many active agents you have" if {
	input.action.kind == "spawn"
	is_number(settings.spawn.user.width)
	not is_user_width_known
}

# An agent that the gateway's own runtime starts is one of its run's, which has limits of its own.
is_of_run if {
	input.action.kind == "spawn"
	input.action.via == "runtime"
	is_number(input.meters.run.active_agents)
	is_number(input.meters.run.agents)
}

# The query of a tool call comes from the agent that asks; the new one is a level deeper.
depth := input.lineage.depth + 1 if {
	input.action.kind == "spawn"
	input.action.via == "tool_use"
} else := input.lineage.depth if {
	input.action.kind == "spawn"
}

agent_type := input.action.agent_type if {
	input.action.kind == "spawn"
	is_string(input.action.agent_type)
} else := "main" if {
	input.action.kind == "spawn"
	depth == 0
} else := "unknown"

is_session_pace_known if {
	input.action.kind == "spawn"
	is_number(input.meters.session.agents_per_minute)
}

is_user_pace_known if {
	input.action.kind == "spawn"
	is_number(input.meters.user.agents_per_minute)
}

is_user_width_known if {
	input.action.kind == "spawn"
	is_number(input.meters.user.active_agents)
}
