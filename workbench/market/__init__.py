"""Prices in: one source a file, one contract, checked and cached."""
