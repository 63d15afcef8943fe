"""The lake: its folder and names, its commits, its locks."""
