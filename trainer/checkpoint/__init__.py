"""Checkpoints: durable, verified states of a run. Importing this package imports no torch.

disk        Disk: every operation on files goes through it, so that tests can record and break it
lease       Lease: one trainer per run, and a fence that stops a late writer
format      names and the self-checksummed manifest
commit      the commit protocol, in one place; torch-free
catalog     list, verify, retain, quarantine, sweep: the orchestrator's door; torch-free
safetensor  tensors as safetensors bytes, streamed both ways
slots       the newest states of a run in shared memory; torch-free
ring        chunks of shared memory that a state streams through where no slot fits; torch-free
way         slots, ring or neither, by the memory that there is; torch-free
scribe      the process that writes both to the disk and outlives its trainer; torch-free
snapshot    fill: tensors of a step become a slot; send: they go through a ring
writer      save: tensors of a step become a committed checkpoint
reader      load: a checkpoint becomes tensors, verified on the way
"""
