"""Releases on disk: manifests, which one is in force, and how one comes into force while a server runs."""
