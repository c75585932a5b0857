"""A run: its config, what is built from it, its folder, its steps and its scores."""
