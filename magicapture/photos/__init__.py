"""From a file that somebody sent to a reference that training can use."""
