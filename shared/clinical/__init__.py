"""Clinical mathematics: numbers in, numbers out, every constant with its source."""
