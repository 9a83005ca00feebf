"""Networks of others that take any text (VoxTell's, SAT's), behind the same prompts."""
