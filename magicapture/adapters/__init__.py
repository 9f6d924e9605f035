"""What a training leaves behind: its weights, what it says of itself, its card."""
