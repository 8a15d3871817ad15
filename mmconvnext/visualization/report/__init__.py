"""Self-contained HTML pages: the shell any page can use, and the report on training runs."""
