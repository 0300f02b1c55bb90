"""Pure: parsing, gate, ledger arithmetic, fuses, routing. No I/O, no clock, no dice; stdlib and msgspec only.

A folder knows those below it, never one beside it:

    inquiries
    oversight   fuses   routes   spend_api
    agents
    decisions   estimates
    gate   bridging   money
    wire
"""
