"""Limits, prices and the sums under them, in integer nano-dollars. Not what a request may still cost: `estimates/`."""
