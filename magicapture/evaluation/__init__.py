"""Measuring this project, and what people would use instead."""
