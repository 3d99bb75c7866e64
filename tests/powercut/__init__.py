"""Power cuts: recorded system calls, the disks that a cut may leave, and real cuts where root may.

tracing      the changes that a real process made to files, in their order, seen by strace
blocks       every disk that a power cut may leave, down to single sectors
store        the store under that: what is written, and what has to be there afterwards
loopdisk     a real ext4 or xfs whose power really fails
"""
