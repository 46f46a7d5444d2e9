"""doseloop.controller"""
