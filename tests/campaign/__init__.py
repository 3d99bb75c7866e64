"""The fault campaign: every fault many times over, and one table of what became of the run."""
