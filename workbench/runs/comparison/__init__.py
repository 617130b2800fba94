"""Every model on the same windows, against baselines that know little: figures, intervals, tables."""
