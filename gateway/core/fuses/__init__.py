"""Fuses that stay blown, and the loops they look for in a conversation. Not the breaker of an upstream: `routes/`."""
