"""Statistics over seeds: intervals, tests, and what they make of a prediction."""
