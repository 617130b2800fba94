"""What recurrent models do inside: their gates, whether they are well, and who is told when not."""
