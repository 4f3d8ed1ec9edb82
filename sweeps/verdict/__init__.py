"""The verdict: a finished run put to the two-tier battery."""
