"""The job recommend, and the files of lists."""
