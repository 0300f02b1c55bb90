"""Metrics and audit records, read from the request context."""
