"""Policies judged on held-out patients: same patients and noise for all, intervals, paired differences, a report."""
