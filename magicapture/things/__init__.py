"""Things as subjects: found by their alpha channel or by looking for them, compared by image features."""
