"""From features to a class for each pixel, refined by a CRF, with its margin."""
