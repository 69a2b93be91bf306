"""What was asked, and the one place where it is settled."""
