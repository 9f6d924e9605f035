"""What a training is of: a person or a thing, behind one protocol."""
