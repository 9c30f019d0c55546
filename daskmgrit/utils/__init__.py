"""Small helpers that know only this package's errors."""
