"""Sources of ratings: folders, archives, downloads, and the choice of files to read."""
