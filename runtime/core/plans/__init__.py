"""What a run would do and cost, before anything of it is paid: its card, and the cast of a rehearsal."""
