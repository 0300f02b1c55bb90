"""What policy is asked and answers, what that obliges us to, and how it is kept and shown. No engine is here."""
