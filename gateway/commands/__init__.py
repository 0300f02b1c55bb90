"""The bodies of the `ringfence` command, one module per subject. Not its arguments: `gateway/__main__.py`."""
