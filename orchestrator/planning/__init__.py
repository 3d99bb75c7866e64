"""Planning: what a run will take before it starts, and when it should run."""
