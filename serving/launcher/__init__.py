"""The parent process: starts tritonserver, keeps it alive and stops it."""
