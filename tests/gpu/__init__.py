"""Checks that need a CUDA device: ``make gpu-check``. The trainer and torch are enough."""
