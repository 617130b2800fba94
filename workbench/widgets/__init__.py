"""Widgets for JupyterLab: the Explorer, and its parts alone."""
