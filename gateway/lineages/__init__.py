"""Whose request is this? Finds the agent in the tree, or brings it to life there, and binds ids to credentials.

    headers say it           session, agent, parent and run as claimed
    no session header        the agent whose conversation the request goes on with, else one that a pending call of this
                             credential asks for, else a new session; marked as inferred

An agent or session that this process has not seen is counted first and then claimed in the store, once however many of
its requests wait: so nobody slips in between, here or on another gateway. For a known one nothing is awaited.

A session belongs to the credential that first used it. Another one's claim is refused and told to the audit trail,
also when the user is the same: a leaked credential does not reach what others began. One that is no longer accepted
leaves its sessions to the other credentials of its user, so that work goes on when credentials are replaced.
"""

from gateway.lineages.lookup import Lineages

__all__ = ["Lineages"]
