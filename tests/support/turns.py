"""Which tests take turns when several processes run them. Not the order in a process: that is tests/conftest.py."""

from xdist.scheduler import LoadScopeScheduling

STORMS = ("tests/gateway/test_pipeline_replicas.py", "tests/simulation/test_replicas.py")
"""A gateway gives its database two seconds: more than one of these at once can take longer."""


class OneStormAtATime(LoadScopeScheduling):
    """Any process takes the next test, but one process takes all the storms, and begins with them."""

    def _split_scope(self, nodeid: str) -> str:
        return "storms" if nodeid.startswith(STORMS) else nodeid
