"""A saved model's final report: `python3 -m workbench study RUN`."""
