"""What crosses the line between supervisor and trainer. Standard library only.

spec      RunSpec: one run, pinned when it is created
job       Job: one attempt at a run, as the supervisor orders it
messages  commands down, events up, one JSON object a line
toml      reading TOML with errors that name file, line and key
"""
