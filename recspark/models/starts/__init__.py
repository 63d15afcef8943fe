"""The start of a fit: a saved model, embeddings, vectors of features."""
