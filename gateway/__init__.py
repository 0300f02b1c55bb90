"""The gateway: follow a request from `web/anthropic.py` through `pipeline.py`; `app.py` builds everything else."""
