"""Benchmarks: timings against peers, in one run. Never in the wheel, never a test."""
