"""From the bytes of a file to typed columns: editions of MovieLens, files of one's own, their notation."""
