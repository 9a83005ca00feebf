"""The local server: a model that stays warm, asked over HTTP by programs on the same machine."""
