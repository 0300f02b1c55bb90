"""What named people decide of agents: approvals, approved scripts, stops and holds. Waiting for them is not here."""
