"""Teaching from the page: points, what they would change, and questions."""
