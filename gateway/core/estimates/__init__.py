"""What a request will use, said before it is sent: the worst case, the likely one, and what is known of its prompt."""
