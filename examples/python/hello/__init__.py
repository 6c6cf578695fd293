"""What the server says. Change it, save, and ask again."""

GREETING = "hello from Python, version 1"
