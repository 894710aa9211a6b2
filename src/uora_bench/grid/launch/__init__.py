"""Launchers: what takes a plan's open items to their records.

`attempt` runs one item (a child process, retries, the record of a failure), `local` keeps the slots of one machine
filled, `slurm` submits job arrays. None imports torch.
"""
