"""The Spend Limits API: what its clients say and are shown. What a limit does to a request is `money/`."""
