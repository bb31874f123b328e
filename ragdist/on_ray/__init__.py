"""A run on Ray Train workers. Ray is imported in this package alone."""
