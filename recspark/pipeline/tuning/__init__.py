"""The job tune: trials, their study, the ranges that they draw from."""
