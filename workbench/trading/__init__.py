"""Positions become money in one place."""
