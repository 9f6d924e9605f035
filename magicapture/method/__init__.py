"""MagiCapture itself, for any base: what is trained on, the losses, the loop."""
