"""From the bytes of a file to typed columns: editions of MovieLens, other files, their notation."""
