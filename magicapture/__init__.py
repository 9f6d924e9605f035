"""A few-shot portrait studio: photos of a person and of a look in, styled portraits out (MagiCapture)."""
