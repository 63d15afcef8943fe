"""The job tune: trials, the study that they are of, the ranges that they draw from."""
