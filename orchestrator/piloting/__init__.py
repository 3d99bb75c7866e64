"""The plan as the daemon follows it: goals, pilot, navigator, bills."""
