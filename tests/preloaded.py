"""What commands import and what takes seconds, none of it with a JAX backend: for the server that forks them."""
