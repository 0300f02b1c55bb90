"""A thousand agents that reserve, stream, abort, crash and come back, against a real store and an independent tally."""
