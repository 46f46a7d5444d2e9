"""doseloop.models"""
