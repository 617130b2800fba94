"""Fitting, predicting, saving."""
