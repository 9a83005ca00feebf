"""See DESIGN: io."""
