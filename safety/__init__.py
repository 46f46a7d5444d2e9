"""Limits and the guard that every dose passes."""
