"""The console: what is printed, on a terminal and as JSON."""
