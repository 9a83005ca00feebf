"""See DESIGN: zoo."""
