"""Losses over a preferred item and items that its user has not rated: draws, losses, descents."""
