"""The sections of a conf: the options of all jobs, and their check."""
