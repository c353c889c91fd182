"""What runs inside tritonserver's Python processes: the body of every model.py, and what they share."""
