"""doseloop.pkpd"""
