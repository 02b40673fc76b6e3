"""Files below a place: which are images, their names, what is left out."""
