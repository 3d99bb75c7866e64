"""Planning before and during a run."""
