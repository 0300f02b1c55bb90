"""`ringfence policy new | explain | replay`: write a rule, ask why something was decided, try a change on the past."""
