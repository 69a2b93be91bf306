"""How a tokenizer spells texts: what each token adds to one, and which tokens a text is."""
