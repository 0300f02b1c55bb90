"""What the gateway does for runs of its own runtime: decides them and their agents, tells prices, room and news.

Takes and gives the gateway's own values; whoever mounts the runtime maps its ports onto these. No run is driven here.
"""
