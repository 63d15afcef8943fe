"""The jobs: from the products of a lake to its products."""
