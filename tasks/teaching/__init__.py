"""Lessons of people: points of images and their classes, and the models that learn them."""
