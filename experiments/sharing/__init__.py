"""What an export says of its run."""
