"""Models against each other: compare, promote, roll back, and the versions that a lake keeps."""
