"""The card's power: meters, limits, levels, and what to do where no limit can be set."""
