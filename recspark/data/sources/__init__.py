"""Where ratings come from: folders, archives, downloads, and what of them is read."""
