"""`ringfence demo`. Starts in `play.py`; imports nothing here, so that other commands need not load the SDK."""
