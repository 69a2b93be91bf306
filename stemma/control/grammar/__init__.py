"""What an answer must match: grammars are compiled beside the loop, and tell which token may come next."""
