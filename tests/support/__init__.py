"""Stand-ins for what tests need from outside: an upstream and a clock. No test lives here."""
