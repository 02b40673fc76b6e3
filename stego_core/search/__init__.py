"""Nearest neighbours of images and of patches."""
