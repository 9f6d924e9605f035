"""From an adapter to finished portraits."""
