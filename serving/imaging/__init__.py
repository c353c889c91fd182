"""Arrays of pixels: pictures decoded and encoded, cut, filtered, put together. No Triton, no torch."""
