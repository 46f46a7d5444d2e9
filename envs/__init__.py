"""Gymnasium environments in which a dosing policy meets virtual patients."""
