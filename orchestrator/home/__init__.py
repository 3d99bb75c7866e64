"""The seams to the house: a Protocol, a real part and a shipped fake, one file per noun."""
