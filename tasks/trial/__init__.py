"""A little of each stage, done to tell how long all of it will take."""
