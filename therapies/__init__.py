"""doseloop.therapies"""
