"""Scripts in child processes of their own. `host` opens them; `child` and what it imports runs inside them.

Nothing is imported here: the child loads as little as it can, and shares only `framing` with its host.
"""
