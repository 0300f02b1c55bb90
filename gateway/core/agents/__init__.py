"""Who acts: sessions, agents, the runs they belong to, and what is counted of them. Not what ends them: `fuses/`."""
