"""What a fit starts from: a saved model, embeddings, vectors of features."""
