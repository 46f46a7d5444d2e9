"""doseloop: a treatment digital twin for drug dosing."""

__version__ = "0.1.0"
