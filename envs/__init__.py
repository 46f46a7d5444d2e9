"""Gymnasium environments in which a dosing policy meets virtual patients. Importing this registers their ids."""

from .registration import register
from .single import DosingEnv
from .vector import DosingVectorEnv

__all__ = ["DosingEnv", "DosingVectorEnv"]

register()
