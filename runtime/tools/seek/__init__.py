"""What Glob and Grep run in a process of its own, so that it can be killed: a directory bomb or a pattern that explodes
stops nobody else. Standard library only, for a quick start. The side that starts it is `seeking.py`.

Why Python's `re` in a killed process and no engine of linear time: those are native dependencies of another dialect.
"""
