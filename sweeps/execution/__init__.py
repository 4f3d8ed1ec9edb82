"""Execution: from a plan to a finished run folder, in one process or in many."""
