"""The report of a pipeline: one HTML file with its data, its model and its errors."""
