"""What a task can find in a study, and how it is said: the language between tasks and report."""
