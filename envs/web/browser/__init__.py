"""The browser backend."""
