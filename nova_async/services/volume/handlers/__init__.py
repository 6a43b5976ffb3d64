"""The requests that the built-in volume service answers, by noun."""
