"""The arithmetic: numba kernels on arrays. Nothing here knows of Spark, pandas or files."""
