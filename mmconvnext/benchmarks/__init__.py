"""Time and memory beside what a user would otherwise run: one module a suite, `measure` in each."""
