"""Arrays of pixels: pictures decoded and encoded, cut, filtered, put together. No Triton, no torch."""

import cv2

# Many light processes share the cores: a pool of threads in each would only be in the way.
cv2.setNumThreads(1)
