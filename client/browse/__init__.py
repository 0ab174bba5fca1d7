"""The hospital looks at its own store: a small web page that only this machine reaches."""
