"""Requests, answers, streams and errors as bytes: JSON spans, SSE and event streams, headers. Judges nothing."""
