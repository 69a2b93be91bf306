"""What every process needs: nouns, configuration and how they travel. No torch."""
