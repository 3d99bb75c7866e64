"""homerun's trainer: nanochat on one GPU, with or without a daemon above it."""
