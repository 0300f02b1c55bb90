"""The pure part of the workflow runtime: values in, values out. No I/O, no clock, no chance."""
