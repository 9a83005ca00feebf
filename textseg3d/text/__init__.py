"""See DESIGN: text."""
