"""The predictions of the two-tier hypothesis, one a file."""
