"""Small helpers that know nothing of this package but its errors."""
