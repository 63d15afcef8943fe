"""Kernels on plain arrays that all others build on: CSR, runs, look-ups, random numbers."""
