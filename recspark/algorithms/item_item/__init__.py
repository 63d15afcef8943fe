"""Item-item models: Gram matrices, and filters on the graph of users and items."""
