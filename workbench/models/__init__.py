"""Networks, one a file: (batch, time, feature) in, (batch, output) out."""
