"""The Spark side: session, encoding, blocks, storage, the step loop."""
