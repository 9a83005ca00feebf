"""See DESIGN: inference."""
