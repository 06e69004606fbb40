"""A small application with a web and a worker role (see README.md)."""
