"""Past-only columns, labels, windows and splits."""
