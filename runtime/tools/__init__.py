"""The tools of agents in one folder: Read, Glob, Grep, Edit, Write, and Bash where it can be had. Decides nothing:
each call was decided by the gateway before it gets here. Begin at `toolbox.py`.
"""
