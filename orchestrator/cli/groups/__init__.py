"""The commands, one module for each noun; loaded when they are called."""
