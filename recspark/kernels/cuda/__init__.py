"""ALS on a CUDA card, by numba.cuda: what `recspark.kernels.als` does, for whole blocks."""
