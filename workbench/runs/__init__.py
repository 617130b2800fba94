"""Notebooks run as jobs, and reported."""
