"""The object that a phrase means, found in a picture, and the mask of an edit."""
