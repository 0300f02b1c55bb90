"""What we hold back or write into a conversation: held calls, denials, notices, endings. Who decides is not here."""
