"""Kernels of item-item models."""
