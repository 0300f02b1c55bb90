"""The gateway: follow a request from `web/anthropic.py` through `pipeline.py`; `app.py` builds everything else."""

__version__ = "0.1.0"
