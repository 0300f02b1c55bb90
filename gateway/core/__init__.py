"""Pure: parsing, gate, ledger arithmetic, fuses, routing. No I/O, no clock, no dice; stdlib and msgspec only."""
