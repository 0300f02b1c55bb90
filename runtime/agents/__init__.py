"""The agents of a run: one attempt of a call is a conversation with a model, held over HTTP through the gateway.

Deciding is the gateway's, executing the tools', keeping the run's. What they start with is `Means`.
"""

from runtime.agents.attempts import LocalAgents, Means
from runtime.agents.client import GatewayClient
from runtime.agents.judging import SchemaJudge

__all__ = ["GatewayClient", "LocalAgents", "Means", "SchemaJudge"]
