"""Questions that are asked beside the path of a request: by hooks, by other harnesses, and by people. No policy."""
