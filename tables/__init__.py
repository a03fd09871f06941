"""Tables of many runs: which are missing, where they run, and what they say together."""
