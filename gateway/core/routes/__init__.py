"""Which upstream gets a request, in which order and when: routes, breakers, queues. Nothing is sent from here."""
