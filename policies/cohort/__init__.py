"""Virtual cohorts of any size under a policy: run in blocks, kept on disk block by block, summed up as streams."""
