"""A model writes a workflow script: asked through the gateway, checked, rehearsed, handed over with its card.

Nothing that it writes is run here; what becomes of it is a person's decision.
"""
