"""The pure part of the workflow runtime: values in, values out. No I/O, no clock, no chance.

`machine.py` is the path of a run. What people are shown of one is `views/`, what is said before it begins is `plans/`.
"""
