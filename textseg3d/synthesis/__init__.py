"""See DESIGN: synthesis."""
