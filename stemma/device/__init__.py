"""How a plan is turned into tokens: tensors live here."""
