"""Adapters of the authenticator port."""
