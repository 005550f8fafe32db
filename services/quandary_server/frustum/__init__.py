"""Between a crop and the detector: the raster it sees and the frame in which it answers. Pure."""
