"""The frozen nouns that every other package speaks in. No I/O lives here."""
