"""The making of acorn, the small chat model inside Stemma: its text, tokenizer, training and examination."""
