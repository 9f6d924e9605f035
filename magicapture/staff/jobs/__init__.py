"""Cells on Hugging Face Jobs: fixed shards, each a job with a private data set of its own that goes with it."""
