"""Flow folders, ours and others', as a test executes them."""
