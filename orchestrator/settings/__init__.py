"""The configuration: its tables, its mistakes in words, and what may change at run time."""
