"""Sentences: what they ask for, what a phrase means, and the language model that reads them."""
