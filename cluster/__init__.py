"""What it takes to get a Ray cluster."""
