"""Bone density from an abdominal CT at number: who trains, who tests, what is read end to end."""
