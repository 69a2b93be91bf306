"""How nouns travel between processes, or inside one."""
