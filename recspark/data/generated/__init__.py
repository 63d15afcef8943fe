"""Seeded data of MovieLens's shape."""
