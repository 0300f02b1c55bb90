"""A run as people and programs are shown it, folded from its journal. Nothing here decides what a run does."""
