"""doseloop.twin"""
