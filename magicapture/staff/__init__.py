"""Batches of people: a manifest becomes cells, engines compute them, a folder keeps what came out."""
