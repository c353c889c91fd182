"""What the models of `model_repository/` share, and the launcher that serves them."""
