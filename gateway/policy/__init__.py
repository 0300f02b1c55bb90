"""Adapters of the policy engine port, and the facts that rules are given."""
