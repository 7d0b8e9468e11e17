"""What goes into an online deployment's container at Azure: the scoring script, what it imports, its environment."""
